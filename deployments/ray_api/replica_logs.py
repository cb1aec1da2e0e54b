"""Logs of Serve replicas, living or ended, from the machines on which they ran; needs no Ray dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.errors import ClusterError
from deployments.ray_api.errors import first_line, ray_errors

MAX_BYTES: Final = 1 << 20
"""Most bytes of one file that are read at a time."""
READ_S: Final = 30.0
"""Seconds within which a machine's logs are read; a process has to start there first."""
_PREFIX = "SERVE_REPLICA::"


@dataclass(frozen=True, slots=True)
class ReplicaProcess:
    """The process of one life of one Serve replica.

    Attributes:
        replica_id: its id, as in the directory.
        node_id: the Ray node that it ran on; "": it never started.
        pid: its process id there.
        is_alive: it lives.
        started_ms: when it was started, Unix milliseconds.
    """

    replica_id: str
    node_id: str
    pid: int
    is_alive: bool
    started_ms: float


@dataclass(frozen=True, slots=True)
class LogPart:
    """What one file of a log holds from some byte on.

    Attributes:
        text: the text.
        end: the byte after it, from which to read on.
    """

    text: str
    end: int


def replica_processes(application: str, deployment: str) -> list[ReplicaProcess]:
    """Return the processes of a deployment's replicas that Ray remembers, the youngest last."""
    with ray_errors("listing replicas"):
        actors = ray._private.state.actors().values()  # noqa: SLF001 - the public call needs the dashboard
    prefix = f"{_PREFIX}{application}#{deployment}#"
    found = [
        ReplicaProcess(
            replica_id=actor["Name"].removeprefix(prefix),
            node_id=actor["Address"]["NodeID"],
            pid=int(actor["Pid"]),
            is_alive=actor["State"] == "ALIVE",
            started_ms=float(actor["StartTime"]),
        )
        for actor in actors
        if actor["Name"].startswith(prefix)
    ]
    return sorted(found, key=lambda process: process.started_ms)


class LogReader:
    """Reads replicas' logs on one machine, in a process there that ends with this object.

    Args:
        node_id: the machine's Ray node.
    """

    def __init__(self, node_id: str) -> None:
        where = NodeAffinitySchedulingStrategy(node_id, soft=False)
        self._actor = ray.remote(_Files).options(num_cpus=0, scheduling_strategy=where).remote()

    def read(self, process: ReplicaProcess, ends: Mapping[str, int], most_lines: int) -> dict[str, LogPart]:
        """Return what is in the files of a replica's log, by file name: errors, output, Serve's remarks.

        Args:
            process: the replica's process.
            ends: bytes from which to read on, by file name.
            most_lines: of a file that is not in `ends`, the most lines, from its end.

        Raises:
            ClusterError: the machine does not answer, or is gone.
        """
        try:
            answer = self._actor.read.remote(process.pid, process.replica_id, dict(ends), most_lines)
            found: dict[str, tuple[str, int]] = ray.get(answer, timeout=READ_S)
        except RayError as error:
            raise ClusterError(f"reading the logs of {process.replica_id}: {first_line(error)}") from error
        return {name: LogPart(*part) for name, part in found.items()}


class _Files:
    """The actor on the machine. It uses nothing of ours, for its machine may have another version."""

    def read(self, pid: int, replica_id: str, ends: Mapping[str, int], most_lines: int) -> dict[str, tuple[str, int]]:
        """Return text and end of each file; see `LogReader.read`."""
        folder = Path(self._session_logs())
        files: Sequence[Path] = [
            *folder.glob(f"worker-*-{pid}.err"),
            *folder.glob(f"worker-*-{pid}.out"),
            *(folder / "serve").glob(f"replica_*_{replica_id}.log"),
        ]
        found = {}
        for file in files:
            size = file.stat().st_size
            begin = ends.get(file.name)
            if begin == size:
                continue
            with file.open("rb") as opened:
                opened.seek(max(0, size - MAX_BYTES) if begin is None else begin)
                data = opened.read(MAX_BYTES)
                end = opened.tell()
            text = data.decode(errors="replace")
            if begin is None:
                lines = text.splitlines(keepends=True)
                text = "".join(lines[max(0, len(lines) - most_lines) :])
            found[file.name] = (text, end)
        return found

    @staticmethod
    def _session_logs() -> Any:  # noqa: ANN401 - Ray is untyped here
        return ray._private.worker._global_node.get_logs_dir_path()  # noqa: SLF001 - Ray has no public call for it
