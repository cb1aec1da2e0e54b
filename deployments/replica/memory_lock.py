"""Checks that a replica may lock memory, where its cluster says that it must: RDMA pins what it transfers.

Without the right to lock, UCX and NCCL take TCP in RDMA's place and say so in a debug log at most. So a replica that is
to use RDMA does not start without it. A non-root user has no use of a capability that a container was given: Kubernetes
puts it into no set that outlasts `execve`, unless the program file has it too and privileges may be escalated.
"""

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.errors import EngineStartError

LOCKS_MEMORY: Final = "RACKSERVE_LOCKS_MEMORY"
"""Environment variable: `1` on machines where replicas use RDMA. The Helm chart sets it for groups with `rdma`."""
IPC_LOCK: Final = 1 << 14
"""Bit of the capability to lock memory without a limit (linux/capability.h)."""
_REMEDY: Final = (
    "let the replica run as root with the capability IPC_LOCK, or without a limit: `ulimit -l unlimited`, "
    "LimitMEMLOCK=infinity of the container runtime or of sshd (Helm: groups[].rdma.memlock)"
)


def check_memory_lock(environ: Mapping[str, str] = os.environ) -> None:
    """Check that this process, and those it starts, may lock as much memory as they like, if they must.

    A soft limit below an unlimited hard one is raised.

    Raises:
        EngineStartError: they must and may not; says which limit there is.
    """
    if environ.get(LOCKS_MEMORY, "") not in {"1", "true"}:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    reason = why_not_lockable(hard, effective_capabilities(Path("/proc/self/status").read_text(encoding="utf-8")))
    if reason:
        raise EngineStartError(reason)


def why_not_lockable(limit_bytes: int, capabilities: int) -> str:
    """Return why a process cannot lock all memory that RDMA needs; "" if it can.

    Args:
        limit_bytes: its limit (`RLIMIT_MEMLOCK`).
        capabilities: its effective capabilities, as bits.
    """
    if limit_bytes == resource.RLIM_INFINITY or capabilities & IPC_LOCK:
        return ""
    return (
        f"RDMA needs to lock memory, and this process may lock {limit_bytes / 2**20:g} MiB; it would silently use TCP. "
        f"Either {_REMEDY}; or use no RDMA"
    )


def effective_capabilities(status: str) -> int:
    """Return a process's effective capabilities as bits, from the text of its `/proc/PID/status`; 0: not said."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
