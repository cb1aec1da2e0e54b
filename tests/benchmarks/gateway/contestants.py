"""Who is measured: our gateway in its forms, its peers, a bare proxy, and no gateway at all."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.cores import Cores, pinned
from tests.benchmarks.gateway.code_forms import CodeForm
from tests.benchmarks.gateway_load.mock_engine import EngineKind, PromptApi
from tests.benchmarks.load_plan import API_KEY
from tests.benchmarks.peers import peer_command
from tests.benchmarks.server_process import ServerProcess
from tests.free_ports import free_port

COMPILED: Final = "compiled"
INTERPRETED: Final = "interpreted"
LEAST_LOAD: Final = "least-load"
TOLD_USAGE: Final = "told-usage"
SMG: Final = "smg"
VLLM_ROUTER: Final = "vllm-router"
VLLM_ROUTER_UNASKED: Final = "vllm-router-no-tokenize"
BARE: Final = "bare-proxy"
OURS: Final = (COMPILED, INTERPRETED)
PEERS: Final = (SMG, VLLM_ROUTER, VLLM_ROUTER_UNASKED)
NAMES: Final = (COMPILED, INTERPRETED, LEAST_LOAD, TOLD_USAGE, *PEERS, BARE)

Command = Callable[[int, Sequence[int]], list[str]]
"""Returns the command line of a gateway, given its port and the engines'."""


_USUAL: Final = EngineKind()


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way from client to engines.

    Attributes:
        name: as in tables and results.
        describes: one line for people.
        command: how it is started.
        engines: how the engines present themselves to it.
        ready_path: the path that answers 200 when it is ready.
        env: additions to its environment.
        stop_wait_s: how long it may take to end.
    """

    name: str
    describes: str
    command: Command
    engines: EngineKind = _USUAL
    ready_path: str = "/health"
    env: Mapping[str, str] = field(default_factory=dict)
    stop_wait_s: float = 10.0

    def start(self, engine_ports: Sequence[int], cores: Cores, log_dir: Path) -> ServerProcess:
        """Start it in front of engines, on the measured core."""
        port = free_port()
        return ServerProcess(
            self.name,
            pinned(self.command(port, engine_ports), cores.measured),
            port=port,
            log_dir=log_dir,
            ready_path=self.ready_path,
            env=dict(self.env),
            stop_wait_s=self.stop_wait_s,
        )


def _urls(ports: Sequence[int]) -> list[str]:
    return [f"http://127.0.0.1:{port}" for port in ports]


@dataclass(frozen=True, slots=True)
class OurCode:
    """One form of our code, and where it is imported from."""

    form: CodeForm
    root: Path


def ours(name: str, describes: str, code: OurCode, policy: str, engines: EngineKind = _USUAL) -> Contestant:
    """Return our gateway, with tenants and their keys.

    Args:
        name: as in tables and results.
        describes: one line for people.
        code: what it runs, and has to run.
        policy: its routing policy.
        engines: how the engines present themselves to it.
    """

    def command(port: int, engine_ports: Sequence[int]) -> list[str]:
        # -P: the working directory is no place to import from.
        module = [sys.executable, "-P", "-m", "tests.benchmarks.gateway.our_gateway", "--api-key", API_KEY]
        replicas = [word for url in _urls(engine_ports) for word in ("--replica", url)]
        return [*module, "--form", code.form, "--port", str(port), "--policy", policy, *replicas]

    env = {"PYTHONPATH": str(code.root)}
    return Contestant(name, describes, command, engines, ready_path="/ready", env=env)


def smg() -> Contestant:
    """Return smg with its defaults; it is not waited for when it ends, as it goes on for 5 s for a load balancer."""

    def command(port: int, engine_ports: Sequence[int]) -> list[str]:
        # `error`, so that writing a log is no part of its cost.
        launch = [peer_command("smg", "smg"), "launch", "--log-level", "error", "--host", "127.0.0.1"]
        ports = ["--port", str(port), "--prometheus-port", str(free_port())]
        return [*launch, *ports, "--policy", "cache_aware", "--worker-urls", *_urls(engine_ports)]

    return Contestant(SMG, "smg, cache_aware", command, ready_path="/readiness", stop_wait_s=0.1)


def vllm_router(name: str, describes: str, prompt_api: PromptApi) -> Contestant:
    """Return vllm-router with its defaults, in front of engines that have one of the tokenizing endpoints, or none."""

    def command(port: int, engine_ports: Sequence[int]) -> list[str]:
        router = [peer_command("vllm-router", "vllm-router"), "--log-level", "warning", "--host", "127.0.0.1"]
        ports = ["--port", str(port), "--prometheus-port", str(free_port())]
        return [*router, *ports, "--policy", "cache_aware", "--worker-urls", *_urls(engine_ports)]

    return Contestant(name, describes, command, EngineKind(prompt_api), stop_wait_s=0.1)


def bare_proxy() -> Contestant:
    """Return a proxy that only copies bytes."""

    def command(port: int, engine_ports: Sequence[int]) -> list[str]:
        servers = [word for engine in engine_ports for word in ("--server", str(engine))]
        return [sys.executable, "-m", "tests.benchmarks.gateway.bare_proxy", "--port", str(port), *servers]

    return Contestant(BARE, "a proxy in uvloop without a policy", command)


def everybody(policy: str, root: Path, interpreted: Path, *, compiled: bool) -> list[Contestant]:
    """Return everybody.

    Args:
        policy: that of our gateway.
        root: the tree.
        interpreted: a copy of it without compiled modules.
        compiled: the tree's code is compiled; else there is no `compiled`.
    """
    in_tree, in_copy = OurCode(CodeForm.COMPILED, root), OurCode(CodeForm.INTERPRETED, interpreted)
    best = in_tree if compiled else in_copy
    vllm = EngineKind(owned_by="vllm")
    told = "ours; its engines tell their usage in streams, as vLLM does when asked"
    both = [
        ours(COMPILED, f"ours, compiled, {policy}", in_tree, policy),
        ours(INTERPRETED, f"ours, interpreted, {policy}", in_copy, policy),
    ]
    return [
        *(both if compiled else both[1:]),
        ours(LEAST_LOAD, "ours, with a policy that reads no prompts", best, "least_load"),
        ours(TOLD_USAGE, told, best, policy, vllm),
        smg(),
        vllm_router(VLLM_ROUTER, "vllm-router, cache_aware; engines answer /tokenize", PromptApi.TOKENIZE),
        vllm_router(VLLM_ROUTER_UNASKED, "vllm-router, cache_aware; engines do not", PromptApi.NONE),
        bare_proxy(),
    ]
