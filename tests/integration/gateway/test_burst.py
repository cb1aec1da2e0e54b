"""Thousands of requests at once, through a real gateway, to four simulated replicas with real telemetry."""

from pathlib import Path

import pytest

from tests.benchmarks import burst
from tests.benchmarks.burst import MODEL, PRIORITIES, burst_cluster

SLOW = MODEL.model_copy(update={"sim": MODEL.sim.model_copy(update={"inter_token_s": 0.1})})
"""320 requests a second: a client on a slow machine, too, opens connections faster than that, so that requests wait."""
ROOM = 3_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("requests", [4_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_burst_is_served_once_each_and_fairly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: int) -> None:
    """Nothing is lost, nothing served twice, memory is bounded, tenants get equal shares, the urgent hardly wait."""
    monkeypatch.setattr(burst, "MODEL", SLOW)
    with burst_cluster(tmp_path) as cluster:
        result = cluster.run(requests)
        assert result.outcomes == {"ok": requests}
        assert result.most_waiting > requests // 4, "they were served as they came: nothing was shown"
        sent = [row["sent"] for row in result.state["replicas"]]
        accepted = [row["report"]["accepted"] for row in result.state["replicas"]]
        assert sum(sent) == sum(accepted) == requests
        assert cluster.retries() == 0
        assert result.state["queue"]["waiting"] == result.state["queue"]["in_flight"] == 0
        assert result.peak_rss_bytes < 400 * 2**20
        for priority in ("normal", "low"):
            assert result.jain(priority) >= 0.98, priority
        assert result.quantile_s("high", 0.99) <= 0.2 * result.quantile_s("low", 0.99)
        assert {one.priority for one in result.asked} == set(PRIORITIES)


@pytest.mark.timeout(300)
def test_what_does_not_fit_is_refused_and_the_rest_is_served(tmp_path: Path) -> None:
    """With room for so many and no more, the others are told `queue_full` and when to come back; none is lost.

    On a slow machine some are told `deadline` instead: the queue that is there would take too long.
    """
    with burst_cluster(tmp_path, max_waiting_requests=ROOM // 10) as cluster:
        result = cluster.run(ROOM)
        assert set(result.outcomes) - {"deadline"} == {"ok", "queue_full"}
        assert result.outcomes.total() == ROOM
        assert result.most_waiting <= ROOM // 10
        refused = [one for one in result.asked if one.code]
        assert all(one.status == 429 and one.retry_after_s >= 1 for one in refused)
        # Whoever makes way is one of the least urgent.
        share = {name: sum(one.priority == name for one in refused) / len(refused) for name in PRIORITIES}
        assert share["high"] <= 0.1
