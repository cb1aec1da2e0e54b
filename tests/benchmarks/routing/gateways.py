"""The gateways that stand in front of the same plain servers: ours by policy, and the peers with their defaults."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.peers import peer_command
from tests.benchmarks.server_process import ServerProcess
from tests.free_ports import free_port

POLICY: Final = "expected_ttft"
OURS: Final = f"rackserve {POLICY}"
BASELINE: Final = "rackserve round_robin"
LEAST_LOAD: Final = "rackserve least_load"
VLLM_ROUTER: Final = "vllm-router cache_aware"
SMG: Final = "smg cache_aware"
GATEWAY_PEERS: Final = (VLLM_ROUTER, SMG)


def gateway(name: str, ports: Sequence[int], log_dir: Path) -> ServerProcess:
    """Start a gateway in front of the plain servers at `ports`.

    Args:
        name: who, a blank, and the policy.
        ports: of the servers, on loopback.
        log_dir: where its log goes.

    Raises:
        PeerMissingError: it is a peer, and not installed.
    """
    who, policy = name.split()
    port = free_port()
    urls = [f"http://127.0.0.1:{server}" for server in ports]
    if who == "rackserve":
        command = [str(Path(sys.executable).with_name("rackserve")), "gateway", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--admin-port", "0", "--policy", policy]
        command += [word for url in urls for word in ("--replica", url)]
    else:
        command = [peer_command(who, who), *(["launch"] if who == "smg" else [])]
        # Quiet, so that writing a log is no part of its time.
        command += ["--log-level", {"smg": "error"}.get(who, "warning"), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--prometheus-port", str(free_port()), "--policy", policy, "--worker-urls", *urls]
    return ServerProcess(
        name.replace(" ", "-"),
        command,
        port=port,
        log_dir=log_dir,
        ready_path="/ready" if who == "rackserve" else "/health",
        own_session=False,
    )
