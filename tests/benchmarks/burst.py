"""A burst of requests, all waiting at once, at a real gateway in front of simulated replicas; and what came of it."""

import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast

import httpx
import msgspec

from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_spec import ModelSpec
from tests.benchmarks.cpu_time import cpu_seconds, rss_bytes
from tests.benchmarks.server_process import ServerProcess
from tests.free_ports import free_port

MODEL = ModelSpec(
    name="m",
    engine="sim",
    policy="least_load",
    max_wait_s=600.0,
    sim=SimSpec(max_num_seqs=32, inter_token_s=0.01, prefill_tokens_per_s=100_000.0),
)
REPLICAS = 4
TENANTS: Mapping[str, float] = {"ann": 3.0, "bob": 2.5, "cid": 2.0, "dee": 1.5, "eve": 1.2}
"""Tenants of equal weight, by how much they ask."""
PRIORITIES: Mapping[str, float] = {"high": 1.0, "normal": 5.0, "low": 4.0}
CONNECTING = 256
"""Connections being opened at once."""
_OK = 200


@dataclass(slots=True)
class Asked:
    """One request and what came of it.

    Attributes:
        tenant: whose.
        priority: its class.
        sent_s: when it was sent.
        ended_s: when its answer was complete.
        status: of the answer; 0: the connection ended without one.
        code: the error's, or "".
        retry_after_s: what a refusal said.
        engine_s: what of an engine's time its answer took.
    """

    tenant: str
    priority: str
    sent_s: float = 0.0
    ended_s: float = 0.0
    status: int = 0
    code: str = ""
    retry_after_s: int = 0
    engine_s: float = 0.0

    @property
    def took_s(self) -> float:
        """From the request to the end of its answer."""
        return self.ended_s - self.sent_s


@dataclass(slots=True)
class BurstResult:
    """What came of a burst.

    Attributes:
        asked: every request.
        most_waiting: in the gateway, as seen four times a second.
        peak_rss_bytes: of the gateway.
        gateway_cpu_s: of the gateway.
        state: the gateway's at the end, of the model.
    """

    asked: list[Asked]
    most_waiting: int = 0
    peak_rss_bytes: int = 0
    gateway_cpu_s: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def outcomes(self) -> Counter[str]:
        """Answers by error code; `ok` for those that are none."""
        return Counter(one.code or ("ok" if one.status == _OK else f"status {one.status}") for one in self.asked)

    def quantile_s(self, priority: str, share: float) -> float:
        """The time that `share` of the answered requests of a class did not exceed."""
        took_s = sorted(one.took_s for one in self.asked if one.priority == priority and one.status == _OK)
        return took_s[min(len(took_s) - 1, int(share * len(took_s)))]

    def jain(self, priority: str) -> float:
        """Jain's index over the engines' time that a class's tenants had, for as long as all had requests waiting."""
        rows = [one for one in self.asked if one.priority == priority and one.status == _OK]
        until_s = min(max(one.ended_s for one in rows if one.tenant == tenant) for tenant in TENANTS)
        served = dict.fromkeys(TENANTS, 0.0)
        for one in rows:
            if one.ended_s <= until_s:
                served[one.tenant] += one.engine_s
        return sum(served.values()) ** 2 / (len(served) * sum(value * value for value in served.values()))


class _Asking(asyncio.Protocol):
    """One request on a connection of its own."""

    def __init__(self, one: Asked, raw: bytes, done: asyncio.Future[None]) -> None:
        self._one = one
        self._raw = raw
        self._done = done
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send it."""
        self._transport = cast("asyncio.Transport", transport)
        self._one.sent_s = time.monotonic()
        self._transport.write(self._raw)

    def data_received(self, data: bytes) -> None:
        """Read its answer, whose length its head says."""
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(headers[b"content-length"]):
            return
        one = self._one
        one.ended_s = time.monotonic()
        one.status = int(head[9:12])
        one.retry_after_s = int(headers.get(b"retry-after", 0))
        answer = msgspec.json.decode(body)
        if one.status == _OK:
            one.engine_s = engine_s(MODEL.sim, answer["usage"])
        else:
            one.code = answer["error"]["code"]
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        del exc
        if not self._done.done():
            self._done.set_result(None)


@dataclass(slots=True)
class BurstCluster:
    """The gateway that takes the burst.

    Attributes:
        port: the apps'.
        admin_port: the operators'.
        pid: of its process.
    """

    port: int
    admin_port: int
    pid: int

    def run(self, requests: int, seed: int = 0) -> BurstResult:
        """Send a burst and wait for all answers."""
        return asyncio.run(self._run(requests, seed))

    async def _run(self, requests: int, seed: int) -> BurstResult:
        rng = Random(seed)
        asked = [Asked(_drawn(rng, TENANTS), _drawn(rng, PRIORITIES)) for _ in range(requests)]
        result = BurstResult(asked)
        cpu_before_s = cpu_seconds(self.pid)
        watching = asyncio.create_task(self._watch(result))
        opening = asyncio.Semaphore(CONNECTING)
        await asyncio.gather(*(self._ask(one, number, rng.randint(2, 6), opening) for number, one in enumerate(asked)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        result.gateway_cpu_s = cpu_seconds(self.pid) - cpu_before_s
        await asyncio.sleep(0.6)  # the replicas' last reports
        await self._look(result)
        return result

    async def _ask(self, one: Asked, number: int, tokens: int, opening: asyncio.Semaphore) -> None:
        body = {"model": "m", "max_tokens": tokens, "messages": [{"role": "user", "content": f"request {number} " * 8}]}
        encoded = json.dumps(body).encode()
        raw = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"authorization: Bearer %s\r\nx-priority: %s\r\ncontent-length: %d\r\n\r\n%s"
            % (one.tenant.encode(), one.priority.encode(), len(encoded), encoded)
        )
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        async with opening:
            await loop.create_connection(lambda: _Asking(one, raw, done), "127.0.0.1", self.port)
        await done

    async def _watch(self, result: BurstResult) -> None:
        while True:
            await self._look(result)
            await asyncio.sleep(0.25)

    async def _look(self, result: BurstResult) -> None:
        async with httpx.AsyncClient(timeout=60.0) as client:
            state = (await client.get(f"http://127.0.0.1:{self.admin_port}/state")).json()
        result.state = state["models"]["m"]
        result.most_waiting = max(result.most_waiting, result.state["queue"]["waiting"])
        result.peak_rss_bytes = max(result.peak_rss_bytes, rss_bytes(self.pid))

    def retries(self) -> float:
        """How many requests the gateway has sent twice."""
        page = httpx.get(f"http://127.0.0.1:{self.admin_port}/metrics").text
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("rackserve_retries_total"))


def engine_s(engine: SimSpec, usage: Mapping[str, Any]) -> float:
    """Return the seconds of a full engine's time that an answer took, by its usage.

    Nothing is cached, and what prompts of some tokens take of the KV cache is a hundredth of that.
    """
    step_s = engine.inter_token_s + engine.inter_token_per_seq_s * (engine.max_num_seqs - 1)
    decode_s = (usage["completion_tokens"] - 1) * step_s / engine.max_num_seqs
    return float(usage["prompt_tokens"] / engine.prefill_tokens_per_s + decode_s)


def _drawn(rng: Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _tenants() -> Sequence[TenantSpec]:
    return [
        TenantSpec(name=name, key_sha256=hashlib.sha256(name.encode()).hexdigest(), max_priority="high")
        for name in TENANTS
    ]


@contextmanager
def burst_cluster(folder: Path, **gateway: Any) -> Iterator[BurstCluster]:  # noqa: ANN401 - spec values
    """Run the replicas in one process and a gateway in another; logs and the like go to `folder`."""
    spec = GatewaySpec.model_validate(
        {"host": "127.0.0.1", "port": free_port(), "admin_port": free_port(), "tenants": _tenants(), **gateway}
    )
    endpoints = folder / "endpoints.json"
    module = [sys.executable, "-m", "tests.benchmarks.sim_replicas"]
    common = ["--model", MODEL.model_dump_json(), "--endpoints", str(endpoints)]
    replicas = ServerProcess(
        "replicas", [*module, "replicas", *common, "--count", str(REPLICAS)], port=0, log_dir=folder
    )
    try:
        deadline_s = time.monotonic() + 60.0
        while not endpoints.exists():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"no replicas: {(folder / 'replicas.log').read_text()[-2000:]}")
            time.sleep(0.05)
        command = [*module, "gateway", *common, "--gateway", spec.model_dump_json()]
        with ServerProcess("gateway", command, port=spec.port, ready_path="/ready", log_dir=folder) as server:
            yield BurstCluster(spec.port, spec.admin_port, server.pid)
    finally:
        replicas.stop()
