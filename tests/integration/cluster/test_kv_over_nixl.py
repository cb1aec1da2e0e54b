"""Real engines in a cluster of two pools: prompts that one vLLM computes are fetched by another over NIXL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import httpx
import pytest

import deployments.ray_api as ray_api
from cluster.spec.role import Role
from deployments.launch.application import Launch
from router.replicas.endpoint import Endpoint
from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import NEEDS_NIXL, NIXL, ROOT, metric_in
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.long,
    pytest.mark.timeout(1800),
    NEEDS_NIXL,
]
PROMPTS = 50
TOKENS = 12
FETCHED = "vllm:prompt_tokens_by_source_total"
"""vLLM's count of prompt tokens by where they came from."""
TIGHT = {"x-slo-tpot-ms": "1"}
"""No engine here makes a token in a millisecond, so a decode replica has no time to spare while anything runs there."""


@pytest.fixture(scope="module")
def divided(ray_cluster: str) -> Iterator[RunningApplication]:
    """Run one prefill and one decode replica of SmolLM2."""
    pools = [{"name": "prefill", "role": "prefill"}, {"name": "decode", "role": "decode"}]
    model = VLLM.model_dump(mode="json", include={"source", "engine", "engine_args"})
    env = {"PYTHONPATH": f"{ROOT}:{NIXL}", "UCX_TLS": "tcp,self"}
    spec = sim_spec({**model, "name": "m", "cpus": 0.5, "env": env, "pools": pools}, name="divided")
    application = RunningApplication(spec)
    try:
        Launch(spec, ray_cluster).start()
        wait_for("both engines", lambda: len(application.replicas("m")) == len(pools), timeout_s=600.0)
        application.wait_until_ready()
        yield application
    finally:
        application.delete()


def replica(application: RunningApplication, role: Role) -> Endpoint:
    """Return the replica with a role."""
    (found,) = [each for each in application.replicas("m") if each.role is role]
    return found


def direct(application: RunningApplication, endpoint: Endpoint) -> httpx.Client:
    """Return a client of one replica, as gateways are."""
    secret = ray_api.shared_secret(application.name)
    return httpx.Client(
        base_url=f"http://{endpoint.host}:{endpoint.http_port}",
        headers={"authorization": f"Bearer {secret}"},
        timeout=120.0,
    )


def prompt(number: int) -> str:
    """Return a prompt of a few blocks that is like no other."""
    return f"Story {number}. " + f"The river number {number} flows through valleys and towns to the sea. " * 12


@contextmanager
def streams_running(application: RunningApplication) -> Iterator[None]:
    """Keep a stream running on the decode replica, so that there is somebody to stop for a prompt."""
    over, begun = Event(), Event()

    def talk() -> None:
        number = 0
        while not over.is_set():
            number += 1
            body = {"model": "m", "prompt": f"Once {number}", "max_tokens": 800, "ignore_eos": True, "stream": True}
            url = f"{application.url}/v1/completions"
            with httpx.stream("POST", url, json=body, headers=TIGHT, timeout=120.0) as response:
                assert response.status_code == 200
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        begun.set()
                    if over.is_set():
                        return

    with ThreadPoolExecutor(1) as pool:
        talking = pool.submit(talk)
        try:
            assert begun.wait(120.0)
            yield
        finally:
            over.set()
            talking.result()


def text(answer: dict[str, Any]) -> str:
    """Return the text of a completion."""
    return str(answer["choices"][0]["text"])


def test_fifty_prompts_are_computed_apart_and_say_the_same(divided: RunningApplication) -> None:
    """At temperature 0 each answer is what one engine alone says; the decode replica counts blocks as fetched."""
    prefill, decode = replica(divided, Role.PREFILL), replica(divided, Role.DECODE)
    asked: dict[str, Any] = {"model": "m", "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
    with direct(divided, prefill) as one, direct(divided, decode) as other, httpx.Client(timeout=120.0) as app:
        before = metric_in(other.get("/metrics").text, FETCHED, source="external_kv_transfer")
        answers: list[dict[str, Any]] = []
        with streams_running(divided):
            for number in range(PROMPTS):
                body = {**asked, "prompt": prompt(number)}
                headers = {**TIGHT, "x-request-id": f"apart-{number}"}
                answer = app.post(f"{divided.url}/v1/completions", json=body, headers=headers)
                assert answer.status_code == 200, answer.text
                answers.append(answer.json())
        fetched = metric_in(other.get("/metrics").text, FETCHED, source="external_kv_transfer") - before
        # The salt keeps the engine that is asked alone from finding what it has computed for the other.
        alone = [
            one.post("/v1/completions", json={**asked, "prompt": prompt(number), "cache_salt": "alone"}).json()
            for number in range(PROMPTS)
        ]
    assert [text(each) for each in answers] == [text(each) for each in alone]
    tokens = sum(each["usage"]["prompt_tokens"] for each in answers)
    print(f"{fetched:.0f} of {tokens} prompt tokens were fetched")  # noqa: T201
    assert fetched >= 0.8 * tokens  # some come while the decode replica is between two streams, and are computed there
