"""Real vLLM with Ray's executor over several nodes, on CPUs: the same tokens as on one."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import deployments.ray_api as ray_api
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from deployments.gang_placement.live_cluster import host_of, standing_gangs
from tests.free_ports import free_port
from tests.integration.cluster.running_application import RunningApplication, wait_for
from tests.integration.gangs.racks import Racks

pytestmark = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(1500)]

QUESTIONS = ("What is the capital of France?", "What is the capital of Italy?", "Say hello.")
SMOLLM: Mapping[str, Any] = {
    "source": "smollm2-135m-instruct",
    "cpus": 0.5,
    # Sums over ranks come in another order than on one; in float32 that changes no token.
    "engine_args": {"dtype": "float32", "max_model_len": 512, "kv_cache_memory_bytes": 1 << 27},
}
LOADING_S = 600.0
"""Four processes load vLLM and the model at once: a minute on two idle cores, several on busy ones."""
ONE = {"name": "one", **SMOLLM}
TENSOR = {"name": "tensor", **SMOLLM, "parallel": {"tensor": 3}, "accelerator": "LAB"}
PIPELINE = {"name": "pipeline", **SMOLLM, "parallel": {"pipeline": 2}, "accelerator": "HALL"}


def spec_of(*models: Mapping[str, Any]) -> ClusterSpec:
    """Return the spec of these models on the head's gateway."""
    gateway = {"host": "127.0.0.1", "port": free_port(), "admin_port": 0, "node_labels": {"rackserve.io/role": "head"}}
    return cluster_file.from_data(
        {"cluster": {"name": "vllm-gangs", "serve_port": 0}, "gateway": gateway, "models": list(models)}, "test"
    )


@pytest.fixture(scope="module")
def application(racks: Racks) -> Iterator[RunningApplication]:
    """A domain of two nodes with two GPUs each, two domains of one node with one; vLLM on one process there already."""
    racks.add("lab", 2, gpus=2, kind="LAB", cpus=0)
    racks.add("hall-a", 1, gpus=1, kind="HALL", cpus=0)
    racks.add("hall-b", 1, gpus=1, kind="HALL", cpus=0)
    racks.wait()
    spec = spec_of(ONE, TENSOR)
    running = RunningApplication(spec)
    try:
        running.deploy(spec)
        wait_for("vLLM is up", lambda: running.status() == "RUNNING", timeout_s=LOADING_S)
        running.wait_until_ready()
        yield running
    finally:
        running.delete()


@pytest.fixture(scope="module")
def reference(application: RunningApplication) -> list[list[int]]:
    """What one process answers."""
    answers = [tokens(application, "one", question) for question in QUESTIONS]
    answer = application.chat("one", QUESTIONS[0], max_tokens=24, temperature=0)
    assert "Paris" in answer.json()["choices"][0]["message"]["content"]
    return answers


def tokens(application: RunningApplication, model: str, question: str) -> list[int]:
    """Return the ids of the tokens a model answers with at temperature 0."""
    answer = application.chat(model, question, max_tokens=24, temperature=0, return_token_ids=True)
    assert answer.status_code == 200, answer.text
    found: list[int] = answer.json()["choices"][0]["token_ids"]
    assert len(found) > 4
    return found


def hosts_of(model: str) -> tuple[str, ...]:
    """Return the host of each rank of a model's only replica."""
    hosts = {machine.node_id: host_of(machine) for machine in ray_api.machines()}
    gang = next(placed for placed in standing_gangs().values() if placed.gang.model == model)
    return tuple(hosts[node] for node in gang.nodes)


def test_a_tensor_group_over_two_nodes_answers_as_one_process(
    application: RunningApplication, reference: list[list[int]]
) -> None:
    """TP 3 on two nodes of one domain: the same tokens."""
    assert hosts_of("tensor") == ("lab-n0", "lab-n0", "lab-n1")
    answers = [tokens(application, "tensor", question) for question in QUESTIONS]
    assert answers == reference


def test_a_pipeline_over_two_domains_answers_as_one_process(
    application: RunningApplication, reference: list[list[int]]
) -> None:
    """PP 2, each stage in a domain of its own, in order: the same tokens. `one` was not restarted for it."""
    before = application.replicas("one")
    application.deploy(spec_of(ONE, PIPELINE).model_copy(update={"gateway": application.spec.gateway}))
    wait_for("the pipeline", lambda: application.replicas("pipeline"), timeout_s=LOADING_S)
    application.wait_until_ready()
    assert hosts_of("pipeline") == ("hall-a-n0", "hall-b-n0")
    answers = [tokens(application, "pipeline", question) for question in QUESTIONS]
    assert answers == reference
    assert application.replicas("one") == before
