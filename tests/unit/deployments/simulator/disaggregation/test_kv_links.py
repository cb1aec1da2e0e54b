"""Transfers take bytes over bandwidth, and wait for one another where they share a link."""

import pytest

from cluster.replica_cost.hardware import ACCELERATORS
from deployments.simulator.disaggregation.kv_links import HANDLING_S, KvLinks


def links() -> KvLinks:
    """Return the links of replicas of four H100, with 163 840 bytes a token."""
    return KvLinks(ACCELERATORS["h100"], 4, 163_840.0)


def test_seconds_are_bytes_over_the_links_of_all_gpus() -> None:
    """10 000 tokens: 1.6 GB over 4 × 50 GB/s of network at 80 %, or 4 × 450 GB/s of NVLink."""  # noqa: RUF002 - its sign
    assert links().transfer_s(10_000, inside=False) == pytest.approx(HANDLING_S + 1.6384e9 / 160e9)
    assert links().transfer_s(10_000, inside=True) == pytest.approx(HANDLING_S + 1.6384e9 / 1440e9)


def test_transfers_that_share_a_link_follow_each_other() -> None:
    """Two out of one replica, or into one, take twice as long together; others are not delayed."""
    shared, one_s = links(), 1.6384e9 / 160e9
    assert shared.send("p1", "d1", 10_000, 1.0, inside=False) == pytest.approx(1.0 + one_s + HANDLING_S)
    assert shared.send("p1", "d2", 10_000, 1.0, inside=False) == pytest.approx(1.0 + 2 * one_s + HANDLING_S)
    assert shared.send("p2", "d1", 10_000, 1.0, inside=False) == pytest.approx(1.0 + 2 * one_s + HANDLING_S)
    assert shared.send("p3", "d3", 10_000, 1.0, inside=False) == pytest.approx(1.0 + one_s + HANDLING_S)
