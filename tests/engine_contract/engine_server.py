"""A program: one engine served over a real socket, with what its replica would see of it under `/contract/…`.

`python engine_server.py SPEC_JSON [ROLE [HOST=ADDRESS,…]]` prints `READY PORT` once it answers. With hosts, media are
fetched from these alone, and loopback counts as public.
"""

import asyncio
import json
import os
import socket
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from cluster.errors import EngineDeadError
from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_parts.adapter_spec import AdapterSpec
from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from deployments.engines.interface import Engine, KvEvent, Receive, Scope, Send
from deployments.engines.media.fetcher import MediaFetcher
from deployments.replica.engine_registry import engine_for
from tests.engine_contract.residency_views import ResidencyViews


def child_pids() -> list[int]:
    """Return the processes this one has started, theirs included, from /proc."""
    found: list[int] = []
    open_pids = [os.getpid()]
    while open_pids:
        pid = open_pids.pop()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            children = [int(word) for word in task.read_text().split()]
            found += children
            open_pids += children
    return found


class Watched:
    """The engine's app, and beside it what a replica sees of the engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.residency: ResidencyViews | None = None
        for rank in range(engine.ranks):
            events = engine.kv_events(rank)
            if events is not None:
                events.subscribe(partial(self._keep, rank))
        self._views = {
            "/contract/stats": self._stats,
            "/contract/rank-stats": self._rank_stats,
            "/contract/events": self._events,
            "/contract/health": self._health,
            "/contract/children": self._children,
            "/contract/stop": self._stop,
            "/contract/self-test": self._self_test,
            "/contract/transfer": self._transfer,
            "/contract/adapters": self._adapters,
        }

    def follow_residency(self, model: str) -> None:
        """Follow what the engine's cache holds from now on, as its replica would, if it says."""
        if self.engine.kv_events() is not None:
            self.residency = ResidencyViews(self.engine, model)

    def _keep(self, rank: int, event: KvEvent) -> None:
        self.events.append((type(event).__name__, asdict(event) | ({"rank": rank} if self.engine.ranks > 1 else {})))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a view, or pass on to the engine."""
        path = scope.get("path", "")
        view = self._views.get(path)
        if path == "/contract/claims":
            view = partial(self._claims, json.loads(await _body_of(receive)))
        if path == "/contract/set-adapters":
            view = partial(self._set_adapters, json.loads(await _body_of(receive)))
        if view is None:
            await (self.residency or self.engine).app(scope, receive, send)
            return
        body = json.dumps(await view()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def _stats(self) -> object:
        return asdict(self.engine.stats())

    async def _rank_stats(self) -> object:
        return [asdict(self.engine.stats(rank)) for rank in range(self.engine.ranks)]

    async def _events(self) -> object:
        taken, self.events = self.events, []
        return taken

    async def _health(self) -> object:
        try:
            await self.engine.check_health()
        except EngineDeadError as exc:
            return str(exc)
        return None

    async def _children(self) -> object:
        return child_pids()

    async def _claims(self, asked: dict[str, Any]) -> object:
        return self.residency.claims(**asked) if self.residency is not None else None

    async def _self_test(self) -> object:
        return await self.residency.self_test() if self.residency is not None else None

    async def _transfer(self) -> object:
        found = self.engine.transfer
        return asdict(found) if found is not None else None

    async def _adapters(self) -> object:
        found = self.engine.adapters()
        return {**asdict(found), "known": sorted(found.known)} if found is not None else None

    async def _set_adapters(self, adapters: dict[str, str]) -> object:
        await self.engine.set_adapters([AdapterSpec(name=name, source=source) for name, source in adapters.items()])
        return await self._adapters()

    async def _stop(self) -> object:
        await self.engine.stop()
        await self.engine.stop()
        return None


async def _body_of(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _fetcher(model: ModelSpec, hosts: str) -> MediaFetcher:
    addresses = dict(pair.split("=") for pair in hosts.split(","))

    async def resolve(host: str, _port: int) -> list[str]:
        return [addresses[host]]

    return MediaFetcher(model.name, model.media, resolve=resolve, may_connect=lambda address: address == "127.0.0.1")


async def main() -> None:
    """Start the engine and serve until the process is ended."""
    model = ModelSpec.model_validate_json(sys.argv[1])
    duties = KvDuties.of(Role(sys.argv[2])) if len(sys.argv) > 2 else NO_DUTIES
    fetcher = _fetcher(model, sys.argv[3]) if len(sys.argv) > 3 else None
    engine = engine_for(model, duties=duties, fetcher=fetcher)
    watched = Watched(engine)
    await engine.start()
    watched.follow_residency(model.name)
    # asyncio sets TCP_NODELAY only where the protocol is named; without it a stream's first token takes 40 ms more.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(watched, log_level="warning", loop="none", timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        sys.stdout.write(f"READY {listener.getsockname()[1]}\n")
        sys.stdout.flush()
        await serving
    await engine.stop()


if __name__ == "__main__":
    # Guarded: the processes an engine starts import this file again.
    asyncio.run(main())
