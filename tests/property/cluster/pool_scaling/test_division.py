"""Nothing of a model's load is lost or counted twice when it is divided among its pools."""

from dataclasses import astuple, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.autoscaling.metrics.figures import GatewayFigures
from cluster.pool_scaling.shares import PoolCapacity, capacity_shares, whole_shares
from cluster.pool_scaling.work_division import WorkDivision

CAPACITIES = st.builds(
    lambda replicas, more, work_per_s: PoolCapacity(replicas, max(1, replicas + more), work_per_s),
    st.integers(0, 50), st.integers(0, 50), st.sampled_from([0.0, 1.0, 250.0, 4_000.0]),
)  # fmt: skip
POOLS = st.lists(CAPACITIES, min_size=1, max_size=6)


@given(POOLS, st.booleans())
def test_shares_are_a_whole_and_equal_replicas_get_equal_shares(pools: list[PoolCapacity], is_waiting: bool) -> None:  # noqa: FBT001
    """No share is below 0; a pool with more of equal replicas never gets less; who has replicas gets something."""
    shares = capacity_shares(pools, is_waiting=is_waiting)
    assert sum(shares) == pytest.approx(1.0)
    for pool, share in zip(pools, shares, strict=True):
        assert share >= 0.0
        assert share > 0.0 or not pool.replicas
        for other, others in zip(pools, shares, strict=True):
            if pool.work_per_s == other.work_per_s and pool.replicas > other.replicas > 0:
                assert share > others


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6))
def test_whole_shares_add_up(number: int, weights: list[float]) -> None:
    """Each pool's number is its exact share, rounded."""
    shares = [weight / sum(weights) for weight in weights]
    parts = whole_shares(number, shares)
    assert sum(parts) == number
    assert all(abs(part - number * share) < 1.0 + 1e-6 for part, share in zip(parts, shares, strict=True))


REPORTS = st.lists(
    st.tuples(
        st.sampled_from(["g1", "g2"]), st.integers(0, 20), st.integers(0, 500), st.floats(0.0, 1.0),
        st.floats(0.0, 1.0), st.booleans(),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@given(REPORTS)
def test_the_parts_of_each_gateway_add_up_to_what_it_told(
    reports: list[tuple[str, int, int, float, float, bool]],
) -> None:
    """However the shares change and however late a report is: what was offered since the first is divided, once."""
    division = WorkDivision(2)
    first: dict[str, GatewayFigures] = {}
    totals: dict[str, GatewayFigures] = {}
    latest: dict[str, list[GatewayFigures]] = {}
    for step, (gateway, waiting, work, wanted, taken, is_late) in enumerate(reports):
        before = totals.get(gateway, GatewayFigures())
        figures = GatewayFigures(
            waiting_requests=waiting,
            waiting_work=10.0 * waiting,
            offered_requests=before.offered_requests + 1,
            offered_work=before.offered_work + work,
            offered_work_squared=before.offered_work_squared + work * work,
            dispatched_work=before.dispatched_work + work / 2,
            prefill_s=before.prefill_s + work / 1000,
            occupancy=0.5,
        )
        sent_s = -1.0 if is_late and gateway in totals else float(step)
        parts = division.divide(
            gateway, figures, sent_s, float(step), wanted=[wanted, 1 - wanted], taken=[taken, 1 - taken]
        )
        if sent_s < 0:
            assert parts == []
            continue
        first.setdefault(gateway, figures)
        totals[gateway], latest[gateway] = figures, parts
        one, other = parts
        assert one.waiting_requests + other.waiting_requests == waiting
        assert one.waiting_work + other.waiting_work == pytest.approx(10.0 * waiting)
        assert one.occupancy == other.occupancy == 0.5
    for gateway, parts in latest.items():
        grown = [now - then for now, then in zip(astuple(totals[gateway]), astuple(first[gateway]), strict=True)]
        divided = [sum(pair) for pair in zip(*map(astuple, parts), strict=True)]
        for field, had, given_out in zip(fields(GatewayFigures), grown, divided, strict=True):
            if field.name in {"offered_work", "offered_work_squared", "dispatched_work", "prefill_s"}:
                assert given_out == pytest.approx(had), field.name
            if field.name == "offered_requests":
                assert abs(given_out - had) <= 1
