"""A tenant's limits hold for the whole cluster: three gateways deal them out among themselves through the directory."""

import asyncio
import hashlib
import time
from collections.abc import Callable

import httpx

from deployments.directory.membership import GatewayEndpoint
from tests.integration.cluster.running_application import RunningApplication, wait_for

GATEWAYS = 3
PER_MINUTE = 600
BURST = 12
AT_ONCE = 30
LOADED_S = 8.0
KEYS = {"rated": "key-of-rated", "counted": "key-of-counted"}
TENANTS = [
    {
        "name": "rated",
        "key_sha256": hashlib.sha256(KEYS["rated"].encode()).hexdigest(),
        "requests_per_minute": PER_MINUTE,
        "requests_burst": BURST,
    },
    {
        "name": "counted",
        "key_sha256": hashlib.sha256(KEYS["counted"].encode()).hexdigest(),
        "requests_at_once": AT_ONCE,
    },
]


def _url(gateway: GatewayEndpoint) -> str:
    return f"http://127.0.0.1:{gateway.port}/v1/completions"


async def _asks(urls: list[str], key: str, tokens: int, clients: int) -> tuple[list[float], list[httpx.Response]]:
    """Ask in a loop of `clients` at each gateway for `LOADED_S`; return when requests were taken, and answers."""
    taken: list[float] = []
    answers: list[httpx.Response] = []
    limits = httpx.Limits(max_connections=clients * len(urls))
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60.0, limits=limits) as client:
        ends = time.monotonic() + LOADED_S

        async def ask(url: str) -> None:
            body = {"model": "m", "prompt": "Hello", "max_tokens": tokens, "ignore_eos": True}
            while time.monotonic() < ends:
                answer = await client.post(url, json=body)
                if answer.status_code == httpx.codes.OK:
                    taken.append(time.monotonic())
                    answers.append(answer)
                else:
                    assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS, answer.text
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(ask(url) for url in urls for _ in range(clients)))
    return taken, answers


def test_limits_hold_over_three_gateways(run_application: Callable[..., RunningApplication]) -> None:
    """Three times as much is asked for as a minute allows, evenly at all gateways and then at one alone."""
    sim = {"inter_token_s": 0.005, "inter_token_per_seq_s": 0.0}
    application = run_application({"name": "m", "replicas": 1, "sim": sim}, replicas=GATEWAYS, port=0, tenants=TENANTS)
    wait_for("all gateways", lambda: len(application.view().gateways) == GATEWAYS)
    urls = [_url(gateway) for gateway in application.view().gateways]
    time.sleep(2.0)  # each has heard how many there are
    for asked in (urls, urls[:1]):
        began = time.monotonic()
        taken, answers = asyncio.run(_asks(asked, KEYS["rated"], tokens=2, clients=4 // len(asked) + 2))
        took_s = time.monotonic() - began
        allowed = PER_MINUTE / 60.0 * took_s
        # A burst besides, and at a gateway's first requests its part of the limit still has to come from the others.
        assert 0.9 * (allowed - 2.0 * PER_MINUTE / 60.0) <= len(taken) <= 1.05 * allowed + BURST + GATEWAYS, took_s
        for answer in answers:
            assert answer.headers["x-ratelimit-limit-requests"] == str(PER_MINUTE)
            assert int(answer.headers["x-ratelimit-remaining-requests"]) <= BURST
        time.sleep(6.0)


def test_requests_at_once_hold_over_three_gateways(run_application: Callable[..., RunningApplication]) -> None:
    """Seventy-two clients want to run at once where thirty may: the engine never has more, and mostly as many."""
    sim = {"inter_token_s": 0.02, "inter_token_per_seq_s": 0.0}
    application = run_application({"name": "m", "replicas": 1, "sim": sim}, replicas=GATEWAYS, port=0, tenants=TENANTS)
    wait_for("all gateways", lambda: len(application.view().gateways) == GATEWAYS)
    gateways = application.view().gateways
    time.sleep(2.0)

    async def watched() -> list[int]:
        running: list[int] = []
        states = [f"http://127.0.0.1:{gateway.admin_port}/state" for gateway in gateways]
        load = asyncio.create_task(_asks([_url(each) for each in gateways], KEYS["counted"], tokens=50, clients=24))
        async with httpx.AsyncClient(timeout=10.0) as client:
            while not load.done():
                (rows,) = [[(await client.get(url)).json()["models"]["m"]["replicas"] for url in states]]
                running.append(sum(row["in_flight"] for gateway in rows for row in gateway))
                await asyncio.sleep(0.2)
        await load
        return running

    running = asyncio.run(watched())
    # Three looks after one another are no one moment: an ended request and the next one may both be seen.
    assert max(running) <= 1.2 * AT_ONCE
    middle = running[len(running) // 4 : 3 * len(running) // 4]
    assert 0.75 * AT_ONCE <= sum(middle) / len(middle) <= 1.05 * AT_ONCE
