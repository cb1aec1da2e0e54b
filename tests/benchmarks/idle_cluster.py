"""An idle cluster of simulated replicas, run by a checkout's own `rackserve serve`, and where its CPU time goes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.benchmarks.cpu_time import descendants
from tests.benchmarks.server_process import ROOT
from tests.free_ports import free_port

REPLICAS: Final = 4
READY_S: Final = 240.0
"""Seconds within which a cluster serves, also on a machine that is busy with another start."""
THREAD_NAMES: Final = Path(__file__).parent / "thread_names"
_ROLES: Final = (
    ("rackserve serve", re.compile(r"rackserve serve ")),
    ("gateway", re.compile(r"^ray::ServeReplica:\w+:gateway")),
    ("replicas", re.compile(r"^ray::ServeReplica:")),
    ("directory", re.compile(r"^ray::Directory")),
    ("Serve's controller", re.compile(r"^ray::ServeController")),
    ("Serve's proxy", re.compile(r"^ray::ProxyActor")),
    ("GCS", re.compile(r"/gcs_server ")),
    ("raylet", re.compile(r"/raylet/raylet ")),
    ("dashboard agent", re.compile(r"^ray::DashboardAgent")),
    ("runtime-env agent", re.compile(r"^ray::RuntimeEnvAgent")),
    ("log monitor", re.compile(r"/log_monitor\.py ")),
    ("dashboard", re.compile(r"/dashboard\.py ")),
    ("node autoscaler", re.compile(r"/monitor\.py ")),
)
_OURS: Final[Mapping[str, tuple[str, ...]]] = {
    "gateway": ("gateway", "event_engine"),
    "replicas": ("replica sim", "event_engine"),
    "directory": ("AsyncIO Thread",),
}
"""Names with which threads begin that run our code, by role. `event_engine`: gRPC's, for telemetry."""


@dataclass(frozen=True, slots=True)
class IdleShares:
    """CPU time of an idle cluster over a while, in percent of one core.

    Attributes:
        roles: by role of the process.
        ours: by role, of the threads that run our code; of `rackserve serve` the whole process.
    """

    roles: Mapping[str, float]
    ours: Mapping[str, float]

    @property
    def total(self) -> float:
        """The whole cluster's."""
        return sum(self.roles.values())

    @property
    def our_total(self) -> float:
        """What of it is ours."""
        return sum(self.ours.values())


Reading = dict[tuple[str, str], float]
"""CPU seconds by role and thread name; the name of a whole process is empty."""


class IdleCluster:
    """A cluster that starts or runs.

    Args:
        process: its `rackserve serve`.

    Attributes:
        ready_s: seconds from its start until READY, once `wait_until_ready` has returned.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.ready_s = 0.0
        self._process = process
        self._pid = process.pid
        self._began_s = time.monotonic()
        self._lines: list[str] = []
        self._is_ready = threading.Event()
        threading.Thread(target=self._take_output, daemon=True).start()

    def wait_until_ready(self) -> None:
        """Wait until it serves.

        Raises:
            RuntimeError: it does not; the message has its output.
        """
        while not self._is_ready.wait(0.02):
            if self._process.poll() is not None or time.monotonic() - self._began_s > READY_S:
                raise RuntimeError("the idle cluster did not serve:\n" + "".join(self._lines))

    def _take_output(self) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line)
            if line.startswith("READY"):
                self.ready_s = time.monotonic() - self._began_s
                self._is_ready.set()

    def read(self) -> Reading:
        """Return the CPU seconds that its processes and their living threads have taken."""
        found: defaultdict[tuple[str, str], float] = defaultdict(float)
        for pid in descendants(self._pid):
            try:
                role = _role(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
                found[role, ""] += time.clock_gettime((~pid << 3) | 2)
                for task in Path(f"/proc/{pid}/task").iterdir():
                    name = (task / "comm").read_text().strip()
                    found[role, name] += int((task / "schedstat").read_text().split()[0]) / 1e9
            except OSError:  # it ended while we looked
                continue
        return dict(found)


def shares(before: Reading, after: Reading, seconds: float) -> IdleShares:
    """Return what was used between two readings that are `seconds` apart."""
    roles: defaultdict[str, float] = defaultdict(float)
    ours: defaultdict[str, float] = defaultdict(float)
    for (role, thread), cpu_s in after.items():
        percent = 100 * (cpu_s - before.get((role, thread), 0.0)) / seconds
        if not thread:
            roles[role] += percent
            if role == "rackserve serve":
                ours[role] += percent
        elif thread.startswith(_OURS.get(role, ("\0",))):
            ours[role] += percent
    return IdleShares(dict(roles), dict(ours))


@contextmanager
def idle_cluster(checkout: Path = ROOT, env: Mapping[str, str] | None = None) -> Iterator[IdleCluster]:
    """Start a cluster of `REPLICAS` simulated replicas and one gateway, and end it with the context.

    Args:
        checkout: the RackServe to run.
        env: more environment variables, such as settings of Ray.
    """
    folder = Path(tempfile.mkdtemp(prefix="idle-", dir="/tmp"))
    spec = {
        "cluster": {"name": "idle"},
        "gateway": {"host": "127.0.0.1", "port": free_port(), "admin_port": free_port()},
        "models": [{"name": "sim", "engine": "sim", "replicas": REPLICAS, "cpus": 0.1}],
    }
    # A checkout from before `serve_port` had no HTTP by default would take a fixed port.
    if checkout != ROOT:
        spec["cluster"]["serve_port"] = free_port()  # type: ignore[index] # a mapping of mappings
    (folder / "idle.yaml").write_text(yaml.safe_dump(spec))
    plain = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    # `python -m` puts its working directory first; Ray's processes find both folders by PYTHONPATH.
    paths = {
        "PYTHONPATH": f"{checkout}:{THREAD_NAMES}",
        "RAY_TMPDIR": str(folder),
    }
    process = subprocess.Popen(
        [Path(sys.executable).parent / "rackserve", "serve", folder / "idle.yaml"],
        cwd=checkout,
        env={**plain, **(env or {}), **paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield IdleCluster(process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _role(command: str) -> str:
    return next((role for role, pattern in _ROLES if pattern.search(command)), "other")
