"""Two gateways in front of the same replicas: neither overfills an engine, neither is starved by the other."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.integration.cluster.load import Load
from tests.integration.cluster.running_application import RunningApplication, wait_for

BATCH = 4
CLIENTS = 24
LEARNING_S = 2.0
LOOKING_S = 3.0
SLOW = {"max_num_seqs": BATCH, "inter_token_s": 0.01, "inter_token_per_seq_s": 0.0}


def test_two_gateways_share_engines_without_queueing_inside_them(
    run_application: Callable[..., RunningApplication],
) -> None:
    """24 clients each, two engines of four places: all wait in the gateways, and both gateways get on as fast.

    Each learns from the engines' reports what the other has there. What waits inside an engine is bound to it, so it
    stays below what each gateway may misjudge by: one margin of two requests.
    """
    application = run_application({"name": "m", "replicas": 2, "sim": SLOW}, replicas=2, port=0)
    wait_for("both gateways", lambda: len(application.view().gateways) == 2)
    gateways = application.view().gateways
    states = [f"http://127.0.0.1:{gateway.admin_port}/state" for gateway in gateways]
    wait_for("reports", lambda: all(row["report"] for url in states for row in replicas_of(url)), timeout_s=10.0)
    loads = [Load(f"http://127.0.0.1:{gateway.port}", "m", clients=CLIENTS, tokens=20) for gateway in gateways]
    try:
        for load in loads:
            load.more(BATCH)
        time.sleep(LEARNING_S)
        before = [load.answers for load in loads]
        inside: list[int] = []
        held: list[int] = []
        until_s = time.monotonic() + LOOKING_S
        while time.monotonic() < until_s:
            rows = [replicas_of(url) for url in states]
            inside += [row["report"]["waiting"] for row in rows[0]]
            held.append(sum(CLIENTS - sum(row["in_flight"] for row in gateway) for gateway in rows))
            time.sleep(0.05)
        answered = [load.answers - count for load, count in zip(loads, before, strict=True)]
    finally:
        for load in loads:
            load.stop()
    assert [load.failures for load in loads] == [[], []]
    assert sum(inside) / len(inside) <= BATCH
    assert sum(held) / len(held) >= CLIENTS
    assert min(answered) >= 0.5 * max(answered), answered


def replicas_of(url: str) -> list[dict[str, Any]]:
    """Return what a gateway knows of the model's replicas."""
    rows: list[dict[str, Any]] = httpx.get(url, timeout=10.0).json()["models"]["m"]["replicas"]
    return rows
