"""Who is measured: our gateway, its peers, and no gateway at all."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.cores import Cores, pinned
from tests.benchmarks.load_plan import API_KEY
from tests.benchmarks.peers import peer_command
from tests.benchmarks.server_process import ServerProcess, free_port

OURS = "rackserve"
LOAD_ONLY = "rackserve least_load"
"""Ours too, with a policy that reads no prompts: what the gateway costs without affinity."""
DIRECT = "direct"
ROUND_ROBIN = "vllm-router round_robin"
CACHE_AWARE = "vllm-router cache_aware"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way from client to engines.

    Attributes:
        name: as in tables and results.
        policy: how it picks an engine; "" where there is nothing to pick.
    """

    name: str
    policy: str = ""

    @property
    def is_ours(self) -> bool:
        """It is our gateway."""
        return self.name in {OURS, LOAD_ONLY}

    def start(self, engines: Sequence[ServerProcess], cores: Cores, log_dir: Path) -> ServerProcess:
        """Start it in front of `engines`, on the measured core; `direct` is the first engine itself."""
        if self.name == DIRECT:
            return engines[0]
        port = free_port()
        urls = [f"http://127.0.0.1:{engine.port}" for engine in engines]
        command = self._ours(port, urls) if self.is_ours else self._vllm_router(port, urls)
        return ServerProcess(
            self.name.replace(" ", "-"),
            pinned(command, cores.measured),
            port=port,
            log_dir=log_dir,
            ready_path="/ready" if self.is_ours else "/health",
        )

    def _ours(self, port: int, urls: list[str]) -> list[str]:
        module = [sys.executable, "-m", "tests.benchmarks.gateway_with_keys", "--api-key", API_KEY]
        replicas = [word for url in urls for word in ("--replica", url)]
        return [*module, "--port", str(port), "--policy", self.policy, *replicas]

    def _vllm_router(self, port: int, urls: list[str]) -> list[str]:
        # `warning`, so that writing a log is no part of its cost.
        router = [peer_command("vllm-router", "vllm-router"), "--log-level", "warning", "--host", "127.0.0.1"]
        ports = ["--port", str(port), "--prometheus-port", str(free_port())]
        return [*router, *ports, "--policy", self.policy, "--worker-urls", *urls]


def contestants(policy: str, *, with_peers: bool) -> list[Contestant]:
    """Return everybody, the baseline first; `policy` is ours."""
    peers = [Contestant(ROUND_ROBIN, "round_robin"), Contestant(CACHE_AWARE, "cache_aware")] if with_peers else []
    if with_peers:
        peers.insert(0, Contestant(LOAD_ONLY, "least_load"))
    return [Contestant(DIRECT), Contestant(OURS, policy), *peers]
