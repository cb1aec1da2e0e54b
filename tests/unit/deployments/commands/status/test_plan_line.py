"""`rackserve status` says what replicas do of what was promised."""

from typing import Any

from deployments.commands.status.plan_line import plan_lines
from deployments.commands.target.replica_rows import replica_rows


def test_the_least_of_each_pool_is_told_and_who_keeps_too_little() -> None:
    """Replicas of which nothing was promised have no line."""
    models: dict[str, dict[str, Any]] = {
        "chat": {
            "replicas": [
                {"replica_id": "c1", "plan": {"prefill": 1.02, "decode": 0.5, "kv_tokens": 1.0}},
                {"replica_id": "c2", "plan": {"prefill": 0.96, "start": 0.9}},
            ]
        },
        "code": {"replicas": [{"replica_id": "k1", "pool": "fast", "plan": {"decode": 0.8}}, {"replica_id": "k2"}]},
        "other": {"replicas": [{"replica_id": "o1", "plan": {}}]},
    }
    least = "prefill 96%, decode 50%, KV tokens 100%, start 90%"
    assert list(plan_lines(models)) == [
        f"plan of chat: {least} of what was promised, the least of 2 replicas",
        "c1 does not do what was planned: decode 50%",
        "plan of code:fast: decode 80% of what was promised",
    ]


def test_a_replica_with_ranks_keeps_what_its_worst_rank_does() -> None:
    """Ranks wait for each other, so the slowest says what the replica does."""
    rows = [
        {"replica_id": f"r.{rank}", "replica": "r", "rank": rank, "report": None, "plan": plan}
        for rank, plan in enumerate(({"decode": 0.9, "prefill": 0.7}, {"decode": 0.6}))
    ]
    assert replica_rows(rows)[0]["plan"] == {"decode": 0.6, "prefill": 0.7}
