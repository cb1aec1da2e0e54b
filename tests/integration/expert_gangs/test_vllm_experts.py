"""A mixture of experts on real vLLM over Ray nodes, on CPUs: tokens as from one process, each rank with its cache."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import deployments.ray_api as ray_api
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from router.replicas.ranks import RANK_HEADER
from tests.engine_contract.expert_model import build
from tests.free_ports import free_port
from tests.integration.cluster.running_application import RunningApplication, wait_for
from tests.integration.gangs.racks import running_racks
from tests.integration.gangs.test_vllm_gangs import LOADING_S, hosts_of
from tests.machine_speed import slowness

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(1800)]

PROMPTS = tuple(f"Tell me about number {number}, and then about its neighbours." for number in range(6))
STORIES = tuple(f"Story {number}. " + f"River number {number} flows to the sea. " * 16 for number in range(6))
"""Prompts of several KV blocks, none like another."""
TOKENS = 24
NODES = 4
RANKS: Mapping[str, Mapping[str, int]] = {
    "data": {"data": 2},
    "data-experts": {"data": 2, "expert": 2},
    "data-tensor-experts": {"data": 2, "tensor": 2, "expert": 4},
}
"""Ways to divide it, by the model's name."""


class Mixtures:
    """Applications of the mixture, of which one process stays and others come and go.

    Args:
        folder: the mixture's.
    """

    def __init__(self, folder: str) -> None:
        self._model: Mapping[str, Any] = {
            "source": folder,
            "cpus": 0.5,
            # Sums over ranks come in another order than on one; in float32 near-ties do not decide a token.
            "engine_args": {"dtype": "float32", "max_model_len": 512, "kv_cache_memory_bytes": 1 << 26},
        }
        self._gateway = {
            "host": "127.0.0.1",
            "port": free_port(),
            "admin_port": 0,
            "node_labels": {"rackserve.io/role": "head"},
        }
        self.running = RunningApplication(self._spec())

    def _spec(self, *others: Mapping[str, Any]) -> ClusterSpec:
        models = [{"name": "one", **self._model}, *({**self._model, **other} for other in others)]
        return cluster_file.from_data(
            {"cluster": {"name": "mixtures", "serve_port": 0}, "gateway": self._gateway, "models": models}, "test"
        )

    def deploy(self, *gangs: Mapping[str, Any]) -> None:
        """Serve one process and these gangs, once all answer."""
        self.running.deploy(self._spec(*gangs))
        limit_s = LOADING_S * slowness()
        for name in ("one", *(str(gang["name"]) for gang in gangs)):
            wait_for(name, lambda name=name: self.running.replicas(name), timeout_s=limit_s)  # type: ignore[misc]
        wait_for("nothing else to come", lambda: self.running.status() == "RUNNING", timeout_s=limit_s)
        self.running.wait_until_ready()

    def complete(self, model: str, prompt: str, tokens: int = TOKENS) -> tuple[str, dict[str, Any]]:
        """Return who answered a completion, and the answer."""
        asked = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        response = httpx.post(
            f"{self.running.url}/v1/completions",
            json={**asked, "return_token_ids": True},
            headers={"x-rackserve-explain": "1"},
            timeout=120.0,
        )
        assert response.status_code == 200, response.text
        return response.headers["x-rackserve-replica"], response.json()

    def all_at_once(self, model: str, prompts: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """Return who answered each prompt, and the answers; several ranks have some at a time."""
        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(lambda prompt: self.complete(model, prompt), prompts))

    def tokens(self, model: str) -> list[list[int]]:
        """Return the tokens of the answers to `PROMPTS`."""
        return [answer["choices"][0]["token_ids"] for _, answer in self.all_at_once(model, PROMPTS)]

    def compute_on(self, model: str, rank: int, prompt: str, tokens: int = 1) -> None:
        """Have a rank of a model's only replica answer, past the gateway."""
        (replica,) = self.running.replicas(model)
        response = httpx.post(
            f"http://{replica.host}:{replica.http_port}/v1/completions",
            json={"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True},
            headers={
                "authorization": f"Bearer {ray_api.shared_secret(self.running.name)}",
                RANK_HEADER: str(rank),
            },
            timeout=120.0,
        )
        assert response.status_code == 200, response.text

    def cached(self, model: str, prompt: str) -> dict[str, int]:
        """Return the tokens of a prompt that the gateway knows to be cached, by rank."""
        response = httpx.post(
            f"{self.running.url}/v1/completions",
            json={"model": model, "prompt": prompt, "max_tokens": 1},
            headers={"x-rackserve-dry-run": "1"},
            timeout=30.0,
        )
        assert response.status_code == 200, response.text
        return {row["replica_id"]: row["cached_tokens"] for row in response.json()["candidates"]}

    def ranks(self, model: str) -> list[dict[str, Any]]:
        """Return the gateway's rows of the model's only replica, by rank."""
        rows: list[dict[str, Any]] = self.running.state()["models"][model]["replicas"]
        return sorted(rows, key=lambda row: row["replica_id"])


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixtures]:
    """Four nodes of one domain with one GPU each, and the mixture on one process."""
    folder = str(build(tmp_path_factory.mktemp("mixture")))
    with running_racks(8, lambda racks: racks.add("hall", NODES, gpus=1, kind="HALL", cpus=1)):
        found = Mixtures(folder)
        try:
            found.deploy()
            yield found
        finally:
            found.running.delete()


@pytest.fixture(scope="module")
def reference(mixtures: Mixtures) -> list[list[int]]:
    """What one process answers: something of its own to each prompt."""
    answers = mixtures.tokens("one")
    assert all(len(answer) == TOKENS for answer in answers)
    assert len({tuple(answer) for answer in answers}) == len(PROMPTS)
    return answers


def test_tensor_ranks_with_whole_experts_answer_as_one_process(mixtures: Mixtures, reference: list[list[int]]) -> None:
    """TP 2 on two nodes, each with half of the experts: the same tokens, twice."""
    mixtures.deploy({"name": "tensor", "parallel": {"tensor": 2, "expert": 2}, "accelerator": "HALL"})
    assert len(set(hosts_of("tensor"))) == 2
    assert mixtures.tokens("tensor") == reference
    assert mixtures.tokens("tensor") == reference


@pytest.mark.parametrize("name", RANKS)
def test_data_parallel_ranks_answer_as_one_process(name: str, mixtures: Mixtures, reference: list[list[int]]) -> None:
    """The same tokens on ranks that share no node; a prompt goes to the rank that tells of its blocks.

    Each story is first computed on a rank that the gateway did not pick, so it knows from the rank's own events alone.
    """
    parallel = RANKS[name]
    mixtures.deploy({"name": name, "parallel": parallel, "accelerator": "HALL"})
    hosts = hosts_of(name)
    assert len(set(hosts)) == len(hosts) == parallel["data"] * parallel.get("tensor", 1)
    assert mixtures.tokens(name) == reference
    assert mixtures.tokens(name) == reference
    first, second = mixtures.ranks(name)
    assert [row["rank"] for row in (first, second)] == [0, 1]
    assert first["host"] == second["host"]
    assert first["sent"] + second["sent"] == 2 * len(PROMPTS)
    assert min(first["sent"], second["sent"]) > 0
    for number, story in enumerate(STORIES):
        rank = number % 2
        mixtures.compute_on(name, rank, story)
        wait_for(f"rank {rank} to tell of its blocks", lambda told=story: max(mixtures.cached(name, told).values()))  # type: ignore[misc]
        home, other = (f"{first['replica']}.{each}" for each in (rank, 1 - rank))
        held = mixtures.cached(name, story)
        assert held[home] >= 64
        assert held[other] == 0
        picked, answer = mixtures.complete(name, story, tokens=4)
        assert picked == home
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= 64
    # Load is told by rank, too: what the gateway did not send is seen in one rank's reports alone.
    with ThreadPoolExecutor(3) as pool:
        going = [pool.submit(mixtures.compute_on, name, 1, f"Go on {number}", 300) for number in range(3)]
        seen: list[list[int]] = []
        while not all(each.done() for each in going):
            seen.append([row["report"]["running"] for row in mixtures.ranks(name)])
        for each in going:
            each.result()
    assert max(running for _, running in seen) == 3
    assert max(running for running, _ in seen) == 0
