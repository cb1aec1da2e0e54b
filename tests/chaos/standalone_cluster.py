"""Two gateways without Ray before four simulated engines, all processes, each engine behind a link that can fail."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import psutil

from tests.benchmarks.server_process import ServerProcess
from tests.chaos.clock import JumpingClock
from tests.chaos.faulty_link import FaultyLink
from tests.chaos.history import Killed
from tests.chaos.remembered_way import remembered_way
from tests.chaos.small_disk import SmallDisk
from tests.free_ports import free_port

ENGINES: Final = 4
GATEWAYS: Final = 2
HELD: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
RACKSERVE: Final = str(Path(sys.executable).with_name("rackserve"))


class StandaloneCluster:
    """The cluster, for as long as the `async with` block lasts.

    Args:
        folder: for logs, records and sockets.

    Attributes:
        links: one before each engine; gateways know of engines by these alone.
        clock: of gateways and engines.
        disk: where gateways write usage records and access logs.
        gateways: name → host and port, of those that accept connections.
        killed: gateways that were killed at once, with what they took along.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clock = JumpingClock(folder)
        self.disk = SmallDisk(folder / "disk")
        self._engine_ports = [free_port() for _ in range(ENGINES)]
        self._gateway_ports = [(free_port(), free_port()) for _ in range(GATEWAYS)]
        self._engines: list[ServerProcess | None] = [None] * ENGINES
        self._gateways: list[ServerProcess | None] = [None] * GATEWAYS
        self.links = [FaultyLink(port) for port in self._engine_ports]
        self.gateways: dict[str, tuple[str, int]] = {}
        self.killed: list[Killed] = []
        self.pids: set[int] = set()

    async def __aenter__(self) -> Self:
        """Start everything."""
        self.disk.mount()
        try:
            for link in self.links:
                await link.start()
            await asyncio.gather(*(self.start_engine(number) for number in range(ENGINES)))
            await asyncio.gather(*(self.start_gateway(number) for number in range(GATEWAYS)))
            await self._until_all_are_known()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        await self._end()

    async def _end(self) -> None:
        for process in (*self._gateways, *self._engines):
            if process is not None:
                await asyncio.to_thread(process.stop)
        for link in self.links:
            await link.stop()
        self.clock.close()
        self.disk.unmount()

    async def start_engine(self, number: int) -> None:
        """Start an engine, and return once it answers."""
        port = self._engine_ports[number]
        command = [sys.executable, "-m", "tests.chaos.engine_program", str(port)]
        self._engines[number] = await self._started(f"engine-{number}", command, port, "/health")

    async def start_gateway(self, number: int) -> None:
        """Start a gateway, and return once it answers."""
        port, admin_port = self._gateway_ports[number]
        command = [RACKSERVE, "gateway", "--host", "127.0.0.1", "--port", str(port), "--admin-port", str(admin_port)]
        command += ["--no-rate-probe", "--usage-folder", str(self.disk.folder / f"usage-{number}")]
        command += ["--access-log", str(self.disk.folder / f"access-{number}.log")]
        command += [word for link in self.links for word in ("--replica", f"http://127.0.0.1:{link.port}")]
        self._gateways[number] = await self._started(f"gateway-{number}", command, port, "/ready")
        self.gateways[f"gateway-{number}"] = ("127.0.0.1", port)

    async def _started(self, name: str, command: list[str], port: int, ready_path: str) -> ServerProcess:
        process = ServerProcess(
            name, command, port=port, log_dir=self._folder, ready_path=ready_path, env=dict(self.clock.env)
        )
        self.pids.add(process.pid)
        await asyncio.to_thread(process.__enter__)
        return process

    async def end_engine(self, number: int, *, by: signal.Signals) -> None:
        """End an engine's process by a signal, and wait for its end."""
        engine, self._engines[number] = self._engines[number], None
        assert engine is not None
        os.kill(engine.pid, by)
        await asyncio.to_thread(engine.stop)

    def signal_engine(self, number: int, what: signal.Signals) -> None:
        """Stop an engine's process or let it go on."""
        engine = self._engines[number]
        assert engine is not None
        os.kill(engine.pid, what)

    def signal_gateway(self, number: int, what: signal.Signals) -> None:
        """Stop a gateway's process or let it go on."""
        gateway = self._gateways[number]
        assert gateway is not None
        os.kill(gateway.pid, what)

    async def end_gateway(self, number: int, *, by: signal.Signals) -> None:
        """End a gateway: clients ask another one first, as behind any balancer; what it has on its way may go on.

        With SIGKILL what it has on its way is noted as lost with it.
        """
        gateway, self._gateways[number] = self._gateways[number], None
        assert gateway is not None
        self.gateways.pop(f"gateway-{number}")
        await asyncio.sleep(0.2)  # a client that chose it just before has connected by then
        if by is signal.SIGKILL:
            os.kill(gateway.pid, signal.SIGSTOP)
            self.killed.append(Killed.of(gateway.pid))
        os.kill(gateway.pid, by)
        await asyncio.to_thread(gateway.wait_ended, 40.0)
        await asyncio.to_thread(gateway.stop)

    async def states(self) -> list[dict[str, Any]]:
        """Return what each gateway says of itself."""
        found = []
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            for number, (_, admin_port) in enumerate(self._gateway_ports):
                if self._gateways[number] is not None:
                    found.append((await client.get(f"http://127.0.0.1:{admin_port}/state")).json())
        return found

    async def held(self) -> dict[str, float]:
        """Return requests that are under way, at gateways and engines, and the parts of KV caches that they hold."""
        sums = dict.fromkeys(HELD, 0.0)
        rows = [row for state in await self.states() for row in state["models"]["m"]["replicas"]]
        sums["gateways' requests in flight"] = float(sum(row["in_flight"] for row in rows))
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            for port in self._engine_ports:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                for line in text.splitlines():
                    name = line.partition("{")[0]
                    if name in sums:
                        sums[name] += float(line.rpartition(" ")[2])
        return sums

    async def _until_all_are_known(self) -> None:
        for _ in range(400):
            states = await self.states()
            if all(len(state["models"].get("m", {}).get("replicas", ())) == ENGINES for state in states):
                return
            await asyncio.sleep(0.1)
        raise RuntimeError("the gateways do not see all engines")

    async def way_of(self, request_id: str) -> str:
        """Return for people which engines' links a request was given to, and when."""
        way = await remembered_way(request_id, [admin_port for _, admin_port in self._gateway_ports])
        for number, link in enumerate(self.links):
            way = way.replace(f"127.0.0.1:{link.port}", f"link-{number}")
        return way

    def refusals(self) -> list[str]:
        """Return what engines refused of what gateways sent."""
        return [refusal for link in self.links for refusal in link.refusals]

    def open_files(self) -> list[int]:
        """Return how many files and connections each gateway has open."""
        return [psutil.Process(each.pid).num_fds() for each in self._gateways if each is not None]

    def left_over(self) -> list[str]:
        """Return what outlived the cluster's end: its processes, and ports that something still listens on."""
        known = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        listening = {each.laddr.port for each in known if each.laddr}
        ports = {*self._engine_ports, *(port for pair in self._gateway_ports for port in pair)}
        ports |= {link.port for link in self.links}
        processes = [f"process {pid}" for pid in self.pids if psutil.pid_exists(pid)]
        return processes + [f"port {port}" for port in sorted(ports & listening)]
