"""Ten thousand requests at once, through a real gateway, to four simulated replicas with real telemetry."""

from pathlib import Path

import pytest

from tests.benchmarks.burst import PRIORITIES, burst_cluster

REQUESTS = 10_000
ROOM = 3_000


@pytest.mark.timeout(300)
def test_a_burst_of_ten_thousand_is_served_once_each_and_fairly(tmp_path: Path) -> None:
    """Nothing is lost, nothing served twice, memory is bounded, tenants get equal work, the urgent hardly wait."""
    with burst_cluster(tmp_path) as cluster:
        result = cluster.run(REQUESTS)
        assert result.outcomes == {"ok": REQUESTS}
        assert result.most_waiting > REQUESTS // 2, "they were served as they came: nothing was shown"
        sent = [row["sent"] for row in result.state["replicas"]]
        accepted = [row["report"]["accepted"] for row in result.state["replicas"]]
        assert sum(sent) == sum(accepted) == REQUESTS
        assert cluster.retries() == 0
        assert result.state["queue"]["waiting"] == result.state["queue"]["in_flight"] == 0
        assert result.peak_rss_bytes < 400 * 2**20
        for priority in ("normal", "low"):
            assert result.jain(priority) >= 0.98, priority
        assert result.quantile_s("high", 0.99) <= 0.2 * result.quantile_s("low", 0.99)
        assert {one.priority for one in result.asked} == set(PRIORITIES)


@pytest.mark.timeout(300)
def test_what_does_not_fit_is_refused_and_the_rest_is_served(tmp_path: Path) -> None:
    """With room for so many and no more, the others are told `queue_full` and when to come back; none is lost."""
    with burst_cluster(tmp_path, max_waiting_requests=ROOM // 10) as cluster:
        result = cluster.run(ROOM)
        assert set(result.outcomes) == {"ok", "queue_full"}
        assert result.outcomes.total() == ROOM
        assert result.most_waiting <= ROOM // 10
        refused = [one for one in result.asked if one.code]
        assert all(one.status == 429 and one.retry_after_s >= 1 for one in refused)
        # Whoever makes way is one of the least urgent.
        share = {name: sum(one.priority == name for one in refused) / len(refused) for name in PRIORITIES}
        assert share["high"] <= 0.1
