"""What a machine has for KV blocks beside its GPUs, and what the replicas on it ask for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cluster.spec.model_parts.kv_cache_spec import GB, OffloadSpec

PROCESS_BYTES: Final = 8e9
"""Bytes of host memory that an engine's processes take for each GPU. Our choice."""
SHARED_SHARE: Final = 0.5
"""Share of a machine's memory that Linux lets `/dev/shm` have by itself, where vLLM keeps blocks."""


@dataclass(frozen=True, slots=True)
class MachineRoom:
    """One machine, full of replicas.

    Attributes:
        title: the maker's name for its GPUs.
        gpus: GPUs that it has.
        memory_bytes: its host memory.
        engine_bytes: host memory that engines take beside the blocks.
        disk_bytes: its disks.
        checkpoint_bytes: what the model's checkpoint takes of these.
        replica_gpus: GPUs of a replica.
        replicas: replicas on it at most; a share of one that is larger than the machine.
    """

    title: str
    gpus: int
    memory_bytes: float
    engine_bytes: float
    disk_bytes: float
    checkpoint_bytes: float
    replica_gpus: int
    replicas: float

    @property
    def free_memory_bytes(self) -> float:
        """Host memory for blocks."""
        return max(0.0, self.memory_bytes - self.engine_bytes)

    @property
    def free_disk_bytes(self) -> float:
        """Disk for blocks."""
        return max(0.0, self.disk_bytes - self.checkpoint_bytes)

    def needs_more_shared_memory(self, offload: OffloadSpec) -> bool:
        """Tell whether `/dev/shm` must be made larger than it is by itself."""
        return offload.cpu_bytes * self.replicas > SHARED_SHARE * self.memory_bytes

    def problems(self, offload: OffloadSpec) -> Iterator[tuple[str, str]]:
        """Yield the key and message of each size that the machine lacks."""
        engines = f"{_gb(self.memory_bytes)} GB less {_gb(self.engine_bytes)} for engines"
        files = f"{_gb(self.disk_bytes)} GB less {_gb(self.checkpoint_bytes)} for the checkpoint"
        for key, own, each, free, made_of in (
            ("cpu_gb", "memory_gb", offload.cpu_bytes, self.free_memory_bytes, f"host memory ({engines})"),
            ("disk_gb", "disk_gb", offload.disk_bytes, self.free_disk_bytes, f"disk ({files})"),
        ):
            needed = each * self.replicas
            if needed > free:
                asked = f"{each / GB:g} GB a replica is {_gb(needed)} GB on a machine with {self._on_it}"
                there = f"{self.gpus} GPUs of {self.title} come with {_gb(free)} GB of {made_of}"
                most = f"give at most {int(free / self.replicas // GB)}, or machine.{own} if yours has more"
                yield key, f"{asked}, but {there}; {most}"

    @property
    def _on_it(self) -> str:
        size = f"{self.replica_gpus} GPU{'s' if self.replica_gpus > 1 else ''}"
        if self.replicas < 1:
            return f"{self.replicas:.0%} of one of {size}"
        return f"{self.replicas:.0f} of them, of {size} each"


def replicas_on_a_machine(gpus: int, replica_gpus: int, replicas: int) -> float:
    """Return the most replicas that a machine has at once; of a larger one the share that is on it.

    Args:
        gpus: GPUs of the machine.
        replica_gpus: GPUs of a replica.
        replicas: replicas that there are.
    """
    return min(gpus // replica_gpus, replicas) if replica_gpus <= gpus else gpus / replica_gpus


def _gb(size: float) -> str:
    return f"{size / GB:,.0f}"
