"""Replicas go, come anew and gateways are exchanged while requests keep coming: not one of them fails."""

from collections.abc import Callable
from typing import Any

import httpx

import deployments.ray_api as ray_api
from cluster.spec.cluster_spec import ClusterSpec
from tests.integration.cluster.load import Load
from tests.integration.cluster.running_application import RunningApplication, wait_for

RunApplication = Callable[..., RunningApplication]


def changed(application: RunningApplication, gateway: dict[str, Any] | None = None, **model: Any) -> ClusterSpec:  # noqa: ANN401 - spec values
    """Return the application's spec with other values for its gateways or its first model."""
    spec = application.spec.model_dump(mode="json")
    spec["gateway"].update(gateway or {})
    spec["models"][0].update(model)
    return ClusterSpec.model_validate(spec)


def test_a_scale_down_an_update_and_new_gateways_lose_no_request(run_application: RunApplication) -> None:
    """Three replicas become one, that one is replaced with other settings while a model is added, then the gateway.

    All under a load of answers that take a second. What did not change is not restarted.
    """
    # 100 tokens at 10 ms: an answer is on its way whenever something is taken away.
    application = run_application({"name": "m", "replicas": 3}, {"name": "still"})
    untouched = application.replicas("still")
    load = Load(application.url, "m", clients=6, tokens=100)
    try:
        load.more(6)
        application.deploy(changed(application, replicas={"min": 1, "max": 1}))
        wait_for("one replica in the routing set", lambda: len(application.replicas("m")) == 1)
        wait_for("two replicas gone", lambda: running(application, "m") == {"RUNNING": 1})
        load.more(6)

        before, gateway = application.replicas("m"), application.gateway()
        update = changed(application, sim={**application.spec.models[0].sim.model_dump(), "kv_blocks": 77})
        added = update.models[1].model_copy(update={"name": "new"})
        application.deploy(update.model_copy(update={"models": (*update.models, added)}))
        wait_for("another replica", lambda: (now := application.replicas("m")) and not set(now) & set(before))
        wait_for("the old one gone", lambda: running(application, "m") == {"RUNNING": 1})
        wait_for("the new model answers", lambda: application.chat("new").is_success)
        assert application.gateway() == gateway
        load.more(6)
        report = application.state()["models"]["m"]["replicas"][0]["report"]
        assert report["kv_capacity_tokens"] == 77 * application.spec.models[0].sim.block_tokens

        application.deploy(changed(application, gateway={"max_body_bytes": 100_000}))
        wait_for("another gateway alone", lambda: (g := application.view().gateways) and gateway not in g)
        wait_for("the old one gone", lambda: running(application, "gateway") == {"RUNNING": 1})
        load.more(12)
        assert application.chat("m", "x" * 100_000).status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    finally:
        load.stop()
    assert load.failures == []
    assert load.longest_s >= 1.0
    assert application.replicas("still") == untouched


def running(application: RunningApplication, deployment: str) -> dict[str, int]:
    """Return how many of a deployment's replicas are in which state, as Serve sees it."""
    state = ray_api.application_state(application.name)
    assert state is not None
    return {key: count for key, count in state.deployments[deployment].replicas.items() if count}
