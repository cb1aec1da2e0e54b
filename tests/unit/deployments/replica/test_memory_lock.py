"""A replica that must lock memory and may not does not start, and says why."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.replica.memory_lock import IPC_LOCK, LOCKS_MEMORY, effective_capabilities, why_not_lockable

INFINITE = resource.RLIM_INFINITY
CHECK = """
import ctypes, resource
from cluster.errors import EngineStartError
from deployments.replica.memory_lock import check_memory_lock
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, data) == 0
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, {hard}))
try:
    check_memory_lock()
except EngineStartError as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])
"""


def checked(*, needed: bool, hard: int) -> list[str]:
    """Return what a process without capabilities says, and its limit then, in bytes."""
    env = {LOCKS_MEMORY: "1"} if needed else {}
    script = CHECK.format(hard=hard)
    command, root = [sys.executable, "-c", script], Path(__file__).parents[4]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_limit_that_is_too_small_is_told() -> None:
    """What it may lock, what would happen, and what would be right."""
    reason, _ = checked(needed=True, hard=65536)
    assert reason.startswith("RDMA needs to lock memory, and this process may lock 0.0625 MiB; it would silently use")
    assert "IPC_LOCK" in reason
    assert "rdma.memlock" in reason


def test_nothing_is_asked_where_nothing_is_locked() -> None:
    """A laptop has small limits."""
    assert checked(needed=False, hard=65536) == ["65536"]


@pytest.mark.parametrize(
    ("limit", "capabilities", "may"),
    [(INFINITE, 0, True), (65536, IPC_LOCK, True), (1 << 40, 0, False), (65536, ~IPC_LOCK & 0xFFFFFFFF, False)],
)
def test_no_limit_or_the_capability(limit: int, capabilities: int, may: bool) -> None:  # noqa: FBT001 - a row
    """Either is enough; a large limit is not, as nobody knows how much will be registered."""
    assert (why_not_lockable(limit, capabilities) == "") is may


def test_capabilities_are_those_in_effect() -> None:
    """Permitted or inheritable ones are of no use to a process by themselves."""
    assert effective_capabilities("Name:\tx\nCapPrm:\t0000000000004000\nCapEff:\t0000000000000000\n") == 0
    assert effective_capabilities("CapEff:\t0000000000004000\n") == IPC_LOCK
    assert effective_capabilities("") == 0
