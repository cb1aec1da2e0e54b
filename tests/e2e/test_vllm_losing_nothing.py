"""Real engines go and come anew, and gateways are exchanged, while requests keep coming: not one of them fails.

It leaves the cluster with one replica, so its name comes last.
"""

import contextlib
import urllib.error

import pytest
import yaml

from tests.e2e.conftest import MODEL, RunningCluster, until
from tests.integration.cluster.load import Load

pytestmark = [pytest.mark.long, pytest.mark.vllm, pytest.mark.ray, pytest.mark.timeout(600)]

ANSWER_TOKENS = 40


def gateway_after(cluster: RunningCluster, gateway_id: str) -> str:
    """Return the id of a gateway of this node that is not the one named, or "": it has one of the next admin ports."""
    for port in range(cluster.admin_port, cluster.admin_port + 5):
        with contextlib.suppress(urllib.error.URLError, KeyError, ValueError, OSError):
            state = cluster.state(port)
            if state["gateway_id"] != gateway_id and state["ready"]:
                return str(state["gateway_id"])
    return ""


def is_gone(cluster: RunningCluster, gateway_id: str) -> bool:
    """Tell whether a gateway's admin port is closed, or another gateway has taken it over."""
    with contextlib.suppress(urllib.error.URLError, OSError):
        return bool(cluster.state()["gateway_id"] != gateway_id)
    return True


def test_a_scale_down_an_update_and_a_new_gateway_lose_no_request(cluster: RunningCluster) -> None:
    """Two vLLM replicas become one, that one is replaced by one with another context, then the gateway is replaced."""
    until(lambda: len(cluster.replicas()) == 2, 240, "two replicas")
    spec = yaml.safe_load(cluster.file.read_text())
    model = spec["models"][0]
    assert model["name"] == MODEL
    load = Load(cluster.url, MODEL, clients=2, tokens=ANSWER_TOKENS)
    try:
        load.more(4)
        model["replicas"] = 1
        cluster.deploy(spec)
        until(lambda: len(cluster.replicas()) == 1, 60, "one replica in the routing set")
        load.more(4)

        [before] = [row["replica_id"] for row in cluster.replicas()]
        model["engine_args"]["max_model_len"] = 4096
        cluster.deploy(spec)
        until(lambda: before not in {row["replica_id"] for row in cluster.replicas()}, 300, "the update")
        load.more(4)

        gateway_id = cluster.state()["gateway_id"]
        spec["gateway"]["idle_timeout_s"] = 60
        cluster.deploy(spec)
        until(lambda: gateway_after(cluster, gateway_id), 120, "another gateway")
        until(lambda: is_gone(cluster, gateway_id), 120, "the first gateway's end")
        load.more(4)
    finally:
        load.stop()
    assert load.failures == []
