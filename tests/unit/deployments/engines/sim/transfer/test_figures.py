"""Histograms of transfers."""

from deployments.engines.sim.transfer.figures import BYTES, SECONDS, Distribution


def test_buckets_count_what_is_not_above_them() -> None:
    """As Prometheus has it: each bucket includes those below, a value on a bound is in its bucket, the last has all."""
    values = Distribution((1.0, 5.0))
    for value in (0.5, 1.0, 3.0, 7.0):
        values.add(value)
    assert list(values.cumulative()) == [("1.0", 2), ("5.0", 3), ("+Inf", 4)]
    assert values.total == 11.5


def test_bounds_are_vllms() -> None:
    """2 KiB to 8 GiB, 5 ms to 5 s."""
    assert (BYTES[0], BYTES[-1], len(BYTES)) == (2 << 10, 8 << 30, 12)
    assert (SECONDS[0], SECONDS[-1], len(SECONDS)) == (0.005, 5.0, 12)
