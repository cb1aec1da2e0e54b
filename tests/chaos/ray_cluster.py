"""A cluster on Ray: two gateways, three replicas with adapters, and a model whose prompts and answers are apart."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import httpx
import psutil

import deployments.ray_api as ray_api
from cluster.spec.role import Role
from deployments.directory.membership import View
from deployments.gateway.operators import headers_by_ray
from tests.chaos.history import KEPT, Killed
from tests.chaos.remembered_way import remembered_way
from tests.free_ports import free_port
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for

GATEWAYS: Final = 2
ADAPTERS: Final = ("sql", "tables", "letters")
_SIM: Final = {"prefill_tokens_per_s": 4000.0, "inter_token_s": 0.04, "kv_blocks": 600, "adapter_load_s": 0.2}
MODELS: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "m",
        "replicas": {"min": 3, "max": 4},
        "sim": _SIM,
        "adapters": [{"name": name, "source": f"org/{name}"} for name in ADAPTERS],
        "adapter_slots": 2,
    },
    {
        "name": "split",
        "sim": _SIM,
        "pools": [{"name": "p", "role": "prefill", "replicas": 2}, {"name": "d", "role": "decode", "replicas": 2}],
    },
)
REPLICAS: Final = {"m": 3, "split": 4}
LOGICAL_CPUS: Final = 16


class RayCluster:
    """The cluster, for as long as the `async with` block lasts.

    Attributes:
        gateways: the port that both gateways share.
        killed: gateways that were killed at once, with what they took along.
        application: what runs.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="rackserve-", dir="/tmp")
        self.application = RunningApplication(sim_spec(*MODELS, name="chaos", replicas=GATEWAYS))
        self.gateways: dict[str, tuple[str, int]] = {}
        self.killed: list[Killed] = []
        self._processes: list[psutil.Process] = []

    async def __aenter__(self) -> Self:
        """Start Ray, Serve and the application."""
        os.environ["RAY_TMPDIR"] = self._folder
        try:
            await asyncio.to_thread(self._start)
        except BaseException:
            await asyncio.to_thread(self._stop)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them."""
        await asyncio.to_thread(self._stop)

    def _start(self) -> None:
        ray_api.start_local(LOGICAL_CPUS)
        ray_api.start_serve(free_port(), "127.0.0.1")
        self.application.deploy(self.application.spec)
        self.application.wait_until_ready()
        self.wait_until_whole()
        self.gateways["both"] = ("127.0.0.1", self.application.spec.gateway.port)

    def _stop(self) -> None:
        self._processes = psutil.Process().children(recursive=True)
        if ray_api.is_connected():
            ray_api.disconnect()
        os.environ.pop("RAY_TMPDIR", None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def is_whole(self, without: str = "") -> bool:
        """Tell whether the directory has every replica and gateway that there is to be, and not the one `without`."""
        view = self.application.try_view()
        if view is None or len(view.gateways) != GATEWAYS:
            return False
        if without in {*(row.replica_id for row in view.replicas), *(row.gateway_id for row in view.gateways)}:
            return False
        return all(sum(row.model == name for row in view.replicas) >= count for name, count in REPLICAS.items())

    def wait_until_whole(self, without: str = "") -> None:
        """Wait until everything that was killed has been replaced; `without`: what was killed last."""
        wait_for("all replicas and gateways", lambda: self.is_whole(without), timeout_s=120.0)

    def drawn(self, rng: Random, rows: Callable[[View], list[tuple[str, int]]]) -> tuple[str, int]:
        """Draw one member of the whole cluster; return its id and its process.

        Args:
            rng: draws it.
            rows: ids and ports of those that may be drawn.
        """
        found: list[tuple[str, int]] = []

        def is_there() -> bool:
            view = self.application.try_view() if self.is_whole() else None
            if view is not None:
                member_id, port = rng.choice(rows(view))
                found.extend((member_id, pid) for pid in _listeners(port))
            return bool(found)

        wait_for("a member to draw", is_there, timeout_s=120.0)
        return found[0]

    def pid_of(self, title: str) -> int:
        """Wait for the process of this cluster's Ray with `title` in its title, and return it."""
        found: list[int] = []

        def is_there() -> bool:
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if title in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                        found.append(child.pid)
            return bool(found)

        wait_for(title, is_there, timeout_s=60.0)
        return found[0]

    def kill_gateway(self, pid: int) -> None:
        """Kill a gateway at once, and note what it takes along; return when it is gone."""
        gateway = psutil.Process(pid)
        os.kill(pid, signal.SIGSTOP)
        killed = Killed.of(pid)
        os.kill(pid, signal.SIGKILL)
        with suppress(psutil.TimeoutExpired):
            gateway.wait(timeout=10.0)
        self.killed.append(replace(killed, gone_s=time.monotonic()))

    async def states(self) -> list[dict[str, Any]]:
        """Return what each gateway says of itself."""
        view = await asyncio.to_thread(self.application.view)
        async with httpx.AsyncClient(trust_env=False, timeout=10.0, headers=headers_by_ray("chaos")) as client:
            urls = [f"http://127.0.0.1:{gateway.admin_port}/state" for gateway in view.gateways]
            return [(await client.get(url)).json() for url in urls]

    async def held(self) -> dict[str, float]:
        """Return requests that are under way, at gateways and engines, and the parts of KV caches that they hold."""
        models = [model for state in await self.states() for model in state["models"].values()]
        rows = [row for model in models for row in model["replicas"]]
        told = [(row["role"], row["report"]) for row in rows if row["report"]]
        sums = {name: float(sum(report[name] for _, report in told)) for name in ("running", "waiting")}
        for name, keeps in (("kv_usage", False), (KEPT, True)):
            sums[name] = float(sum(report["kv_usage"] for role, report in told if (role == Role.PREFILL) == keeps))
        return {**sums, "gateways' requests in flight": float(sum(row["in_flight"] for row in rows))}

    async def way_of(self, request_id: str) -> str:
        """Return for people which replicas a request was given to, and when."""
        view = await asyncio.to_thread(self.application.try_view)
        ports = [gateway.admin_port for gateway in view.gateways] if view is not None else []
        return await remembered_way(request_id, ports, headers_by_ray("chaos"))

    def refusals(self) -> list[str]:
        """Return nothing: there are no links of ours to listen on."""
        return []

    def open_files(self) -> list[int]:
        """Return how many files and connections each gateway has open."""
        ports = [gateway.admin_port for gateway in self.application.view().gateways]
        return [psutil.Process(pid).num_fds() for port in ports for pid in _listeners(port)]

    def left_over(self) -> list[str]:
        """Return what outlived the cluster's end."""
        psutil.wait_procs(self._processes, timeout=10.0)
        return [f"process {each.pid}" for each in self._processes if each.is_running()]


def _listeners(port: int) -> list[int]:
    known = psutil.net_connections("tcp")
    return [each.pid for each in known if each.status == psutil.CONN_LISTEN and each.laddr[1:] == (port,) and each.pid]
