"""A model of two pools on real Ray: both serve, commands know them, and an update of one leaves the other alone."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cluster.spec.model_parts.scaling_spec import ReplicaCount
from cluster.spec.role import Role
from deployments import app
from deployments.commands.operate.scale import with_replicas
from deployments.launch.application import Launch
from deployments.launch.running_spec import running_spec
from tests.integration.cluster.command import RACKSERVE, run
from tests.integration.cluster.load import Load
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for
from tests.integration.cluster.test_autoscaling import history, wanted

SIM = {"max_num_seqs": 4, "inter_token_per_seq_s": 0.0}
POOLS = [
    {"name": "fast", "sim": {"inter_token_s": 0.005}, "autoscaling": {"work_per_replica": 3200}},
    {"name": "slow", "sim": {"inter_token_s": 0.02}, "autoscaling": {"work_per_replica": 800}},
]
"""Four answers of 200 or of 50 tokens a second; flow control counts each token four times."""


@pytest.fixture(scope="module")
def pooled(ray_cluster: str) -> Iterator[RunningApplication]:
    """Run a model `m` of a fast and a slow pool, one without pools and one of two roles, as `serve --detach` does."""
    scaling = {"target_queue_seconds": 0.2, "scale_down_after_seconds": 3}
    model = {"name": "m", "pools": POOLS, "autoscaling": scaling, "sim": SIM}
    split = {"name": "split", "pools": [{"name": "p", "role": "prefill"}, {"name": "d", "role": "decode"}]}
    spec = sim_spec(model, {"name": "plain"}, split, name="pooled")
    launch = Launch(spec, ray_cluster)
    application = RunningApplication(spec)
    try:
        launch.start()
        application.wait_until_ready()
        wait_for("both pools", lambda: len(application.replicas("m")) == 2)
        yield application
    finally:
        application.delete()


def rackserve(address: str, *words: str) -> Any:  # noqa: ANN401 - a completed process
    """Run a `rackserve` command to its end on a wide terminal."""
    return run(RACKSERVE, *words, "--address", address, env={"COLUMNS": "200"}, timeout_s=300.0)


def ids(application: RunningApplication, pool: str) -> set[str]:
    """Return the ids of a pool's replicas."""
    return {each.replica_id for each in application.replicas("m") if each.pool == pool}


def sent(application: RunningApplication) -> dict[str, int]:
    """Return the requests that each pool of `m` was given."""
    rows = application.state()["models"]["m"]["replicas"]
    return {pool: sum(row["sent"] for row in rows if row["pool"] == pool) for pool in ("fast", "slow")}


def test_both_pools_serve_the_model(pooled: RunningApplication) -> None:
    """One name for apps; with more requests than one replica takes well, both get some."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: pooled.chat("m", f"question {n}", max_tokens=64), range(48)))
    assert [answer.status_code for answer in answers] == [200] * 48
    counts = sent(pooled)
    assert counts["fast"] > 0
    assert counts["slow"] > 0


def test_roles_reach_the_engines(pooled: RunningApplication) -> None:
    """A prefill replica says that it sends KV blocks, a decode replica that it fetches them; the model is served."""
    wait_for("both roles", lambda: len(pooled.replicas("split")) == 2)
    rows = {row.role: row.transfer for row in pooled.replicas("split")}
    prefill, decode = rows[Role.PREFILL], rows[Role.DECODE]
    assert prefill is not None
    assert decode is not None
    assert prefill.why_not_to(decode) == ""
    assert pooled.chat("split").status_code == 200


def test_status_and_metrics_show_both(pooled: RunningApplication, ray_cluster: str) -> None:
    """Each pool with its deployment and replicas; a model without pools has no label `pool`."""
    text = rackserve(ray_cluster, "status").stdout
    report = json.loads(rackserve(ray_cluster, "status", "--json").stdout)
    (told,) = [each for each in report["applications"] if each["name"] == "pooled"]
    for pool in ("fast", "slow"):
        assert f"deployment m:{pool}: healthy (1 running)" in text
        (replica,) = ids(pooled, pool)
        assert any(replica in line and f"m:{pool}" in line for line in text.splitlines())
        (row,) = [each for each in told["models"]["m"]["replicas"] if each["replica_id"] == replica]
        assert (row["pool"], row["role"]) == (pool, "both")
    gateway = pooled.gateway()
    lines = httpx.get(f"http://127.0.0.1:{gateway.admin_port}/metrics").text.splitlines()
    accepting = [line for line in lines if line.startswith("rackserve_replica_accepting{")]
    assert sum('model="m"' in line and 'pool="' in line for line in accepting) == 2
    assert sum('model="plain"' in line and "pool" not in line for line in accepting) == 1


def test_scale_wants_the_pool_and_changes_only_that(pooled: RunningApplication, ray_cluster: str) -> None:
    """Without one it says which there are; with it, one pool grows and nothing restarts."""
    before = {pool: ids(pooled, pool) for pool in ("fast", "slow")}
    refused = rackserve(ray_cluster, "scale", "m", "2")
    assert refused.returncode == 2
    assert "--pool: m has the pools fast, slow; say which" in refused.stderr
    told = rackserve(ray_cluster, "scale", "m", "2", "--pool", "slow")
    assert told.returncode == 0, told.stderr
    assert "m:slow: 1 → 2 replicas" in told.stderr
    wait_for("two slow replicas", lambda: len(ids(pooled, "slow")) == 2)
    assert before["slow"] < ids(pooled, "slow")
    assert ids(pooled, "fast") == before["fast"]
    kept = running_spec("pooled")
    assert kept is not None
    assert [pool.replicas.min for pool in kept.model("m").in_pools()] == [1, 2]


def test_logs_are_those_of_all_pools_or_of_one(pooled: RunningApplication, ray_cluster: str) -> None:
    """By the pool's name; a wrong one is told with those there are."""
    both = rackserve(ray_cluster, "logs", "m").stdout
    assert all(replica in both for pool in ("fast", "slow") for replica in ids(pooled, pool))
    one = rackserve(ray_cluster, "logs", "m", "--pool", "fast").stdout
    assert all(replica in one for replica in ids(pooled, "fast"))
    assert not any(replica in one for replica in ids(pooled, "slow"))
    wrong = rackserve(ray_cluster, "logs", "m", "--pool", "quick")
    assert wrong.returncode == 1
    assert "m has no pool 'quick'; there is fast, slow" in wrong.stderr


def test_a_rolling_update_of_one_pool_keeps_the_other_and_loses_nothing(
    pooled: RunningApplication, ray_cluster: str
) -> None:
    """The slow pool's engines are replaced under load; the fast pool's replica is the one it was."""
    fast, slow = ids(pooled, "fast"), ids(pooled, "slow")
    spec = running_spec("pooled")
    assert spec is not None
    model, *others = spec.models
    slower = model.pools[1].model_copy(update={"env": {"CHANGED": "1"}})
    changed = model.model_copy(update={"pools": (model.pools[0], slower)})
    load = Load(pooled.url, "m", clients=4, tokens=16)
    try:
        Launch(spec.model_copy(update={"models": (changed, *others)}), ray_cluster).start()
        wait_for("new slow replicas", lambda: len(now := ids(pooled, "slow")) == len(slow) and not now & slow)
        load.more(20)
    finally:
        load.stop()
    assert load.failures == []
    assert ids(pooled, "fast") == fast


def test_each_pool_is_scaled_by_itself(pooled: RunningApplication, ray_cluster: str) -> None:
    """A burst raises the pool that may grow; the other keeps its number, and its decisions are told as well."""
    spec = running_spec("pooled")
    assert spec is not None
    Launch(with_replicas(spec, "m", "slow", ReplicaCount(min=1, max=3)), ray_cluster).start()
    deployment = app.deployment_name("m", "slow")
    wait_for("figures of both pools", lambda: {row["pool"] for row in history(pooled, "m")} == {"fast", "slow"})
    load = Load(pooled.url, "m", clients=40, tokens=50)
    try:
        wait_for("more slow replicas wanted", lambda: wanted("pooled", deployment) == 3)
    finally:
        load.stop()
    assert wanted("pooled", app.deployment_name("m", "fast")) == 1
    targets = {row["target"] for row in history(pooled, "m") if row["pool"] == "fast"}
    assert targets == {1}
    wait_for("one slow replica again", lambda: wanted("pooled", deployment) == 1)
