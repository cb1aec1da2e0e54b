"""A policy that needs what its replicas do not tell: the start fails and says so; with another policy it serves."""

import time

import httpx
import pytest

from cluster.errors import ClusterError
from deployments.launch.application import Launch
from tests.integration.cluster.running_application import RunningApplication, sim_spec


def test_a_start_without_the_policys_telemetry_fails_with_what_is_missing(ray_cluster: str) -> None:
    """`:exact` over engines without a cache: an error in place of READY; a change of the policy alone mends it."""
    del ray_cluster
    model = {"name": "m", "policy": "expected_ttft:exact", "sim": {"prefix_caching": False}}
    spec = sim_spec(model, name=f"unmet-{time.monotonic_ns()}")
    application = RunningApplication(spec)
    try:
        application.deploy(spec)
        with pytest.raises(ClusterError, match="'expected_ttft:exact' needs residency") as caught:
            Launch(spec).wait_until_ready(lambda _: None, lambda: False)
        [replica] = application.replicas("m")
        for words in ("model m", replica.replica_id, "a prompt sent twice was not cached", "without: expected_ttft, "):
            assert words in str(caught.value)
        mended = [each.model_copy(update={"policy": "expected_ttft"}) for each in spec.models]
        application.deploy(spec.model_copy(update={"models": tuple(mended)}))
        application.wait_until_ready()
        assert httpx.get(f"{application.gateway().admin_url}/ready").json()["affinity"]["m"]["mode"] == "none"
        assert application.chat("m").is_success
        assert application.replicas("m") == [replica], "routing alone has changed: the replica goes on"
    finally:
        application.delete()
