"""A model's replicas follow its load: real Ray, gateways and replicas that tell their figures, sim engines."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
from ray import serve

from deployments import ray_api
from deployments.scaling_actor import actor_name
from tests.integration.cluster.command import RACKSERVE, run
from tests.integration.cluster.load import Load
from tests.integration.cluster.running_application import RunningApplication, wait_for

RunApplication = Callable[..., RunningApplication]

REACTION_S = 2.0
CLIENTS = 40
SLOW = {"max_num_seqs": 4, "inter_token_s": 0.02, "inter_token_per_seq_s": 0.0}
"""Four answers of 50 tokens a second: 800 tokens of work a second at four each, prompts aside."""


def wanted(application: str, deployment: str) -> int:
    """Return how many replicas Serve has or starts for a deployment."""
    state = ray_api.application_state(application)
    return state.deployments[deployment].wanted if state is not None else 0


def decisions(application: RunningApplication, model: str) -> list[dict[str, Any]]:
    """Return a model's decisions that changed something, oldest first."""
    rows = ray_api.existing_actor(actor_name(application.name)).call_now("history", 1000)[model]
    return [row for row in reversed(rows) if row["previous"] != row["target"]]


@contextmanager
def serves_own_default() -> Iterator[Callable[[], float]]:
    """Run the same step of load on a deployment that Serve scales by its own default.

    Gives a function that waits until Serve wanted more replicas, and returns how long after the step that was.
    """
    name = f"serves-own-{time.monotonic_ns()}"

    @serve.deployment(
        autoscaling_config={"min_replicas": 1, "max_replicas": 4},
        max_ongoing_requests=4,
        ray_actor_options={"num_cpus": 0.1},
    )
    class Sleeper:
        async def __call__(self) -> None:
            import asyncio  # noqa: PLC0415 - in the replica's process

            await asyncio.sleep(1.0)

    sleeper: Any = Sleeper  # Serve has made a deployment of the class
    handle = serve.run(sleeper.bind(), name=name, route_prefix=f"/{name}")
    stopping, began_s = threading.Event(), time.monotonic()

    def ask() -> None:
        while not stopping.is_set():
            handle.remote().result(timeout_s=120.0)

    def reaction_s() -> float:
        wait_for("Serve's own default to want more", lambda: wanted(name, "Sleeper") > 1, timeout_s=120.0)
        return time.monotonic() - began_s

    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            for _ in range(CLIENTS):
                pool.submit(ask)
            try:
                yield reaction_s
            finally:
                stopping.set()
    finally:
        serve.delete(name)


def test_a_step_raises_the_target_within_two_seconds(run_application: RunApplication) -> None:
    """From 0 to 40 clients at once: more replicas are wanted within 2 s; by Serve's own default it takes far longer.

    Then the load ends: the replicas go again, and `rackserve status` says what was decided and why.
    """
    with serves_own_default() as serves_own_reaction_s:
        application = run_application(
            {
                "name": "m",
                "replicas": {"min": 1, "max": 4},
                "sim": SLOW,
                "autoscaling": {"work_per_replica": 800, "scale_down_after_seconds": 3, "expected_start_seconds": 5},
            }
        )
        wait_for("the first decision", lambda: actor_name(application.name) in ray_api.actor_names(), timeout_s=60.0)
        time.sleep(2.0)  # so that nothing is new but the load
        began_s = time.monotonic()
        load = Load(application.url, "m", clients=CLIENTS, tokens=50)
        try:
            wait_for("more replicas wanted", lambda: wanted(application.name, "m") > 1, timeout_s=60.0)
            ours_s = time.monotonic() - began_s
            wait_for("four replicas ready", lambda: len(application.replicas("m")) == 4)
            load.more(2 * CLIENTS)
        finally:
            load.stop()
        theirs_s = serves_own_reaction_s()
        print(f"target raised {ours_s:.2f} s after the step; by Serve's own default {theirs_s:.1f} s after it")  # noqa: T201
        assert load.failures == []
        wait_for("one replica again", lambda: len(application.replicas("m")) == 1)
    up, *_, down = decisions(application, "m")
    assert up["previous"] == 1
    assert up["metrics"]["waiting_requests"] > 0
    assert up["signals"]["lead_s"] == 5.0  # as the file expects: none had been seen
    assert down["target"] == 1
    assert 0.5 < down["signals"]["lead_s"] < 60.0  # as the started ones took
    status = run(RACKSERVE, "status", "--json", env={"RAY_ADDRESS": ray_api.address()}).stdout
    (found,) = [found for found in json.loads(status)["applications"] if found["name"] == application.name]
    told = found["models"]["m"]["decisions"]
    assert [row["reasons"] for row in told if row["target"] != row["previous"]][-1] == up["reasons"]
    table = run(RACKSERVE, "status", env={"RAY_ADDRESS": ray_api.address(), "COLUMNS": "200"}).stdout
    assert "1 → " in table
    assert ours_s <= REACTION_S
    assert theirs_s > 5 * ours_s


def test_to_zero_and_back(run_application: RunApplication) -> None:
    """A model without replicas is served: its request is held, starts one, and is answered; then it goes again."""
    application = run_application(
        {
            "name": "m",
            "replicas": {"min": 0, "max": 2},
            "autoscaling": {"scale_to_zero_after_seconds": 3, "scale_down_after_seconds": 3},
        }
    )
    assert application.replicas("m") == []
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: patient_chat(application), range(3)))
        assert [answer.status_code for answer in answers] == [200] * 3
        wait_for("no replica any more", lambda: wanted(application.name, "m") == 0)
    targets = [(row["previous"], row["target"]) for row in decisions(application, "m")]
    assert targets == [(0, 1), (1, 0), (0, 1), (1, 0)]
    assert "held" in decisions(application, "m")[0]["reasons"][0]


def patient_chat(application: RunningApplication) -> httpx.Response:
    """Ask once, with the patience that the start of a process takes on a busy machine."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    return httpx.post(f"{application.url}/v1/chat/completions", json=body, timeout=120.0)


def test_nothing_is_left_of_an_application(run_application: RunApplication) -> None:
    """Its autoscaler goes with it, and no policy makes it anew."""
    application = run_application({"name": "m", "replicas": {"min": 1, "max": 2}})
    wait_for("its autoscaler", lambda: actor_name(application.name) in ray_api.actor_names(), timeout_s=60.0)
    application.delete()
    time.sleep(1.5)
    assert actor_name(application.name) not in ray_api.actor_names()
