"""vLLM's file tier of offloaded KV blocks, within a bound: vLLM 0.32's own one only ever grows.

Imported by the engine's process, by the name that `offload` gives it.
"""

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vllm.v1.kv_offload.base import OffloadingEvent, OffloadKey, make_offload_key
from vllm.v1.kv_offload.tiering.base import JobId, JobResult, TransferJob
from vllm.v1.kv_offload.tiering.fs.manager import FileSystemTierManager


class BoundedDiskTier(FileSystemTierManager):
    """Files of KV blocks; beyond the bound those used longest ago are removed, and told of.

    Files of an earlier life count, and are found again. Replicas on one machine may share the folder, as equal blocks
    have equal names: then each keeps to the bound, and one may remove what another has stored, which then computes it.

    Args:
        most_bytes: bytes of all files together.
        more: the arguments of vLLM's tier.
    """

    def __init__(self, *, most_bytes: int, **more: Any) -> None:  # noqa: ANN401 - vLLM's own
        events = more["offloading_spec"].kv_events_config.enable_kv_cache_events
        super().__init__(enable_kv_events=events, **more)
        self._most_files = max(1, int(most_bytes) // self._block_size)
        self._files: OrderedDict[OffloadKey, None] = OrderedDict()
        self._storing: dict[JobId, list[OffloadKey]] = {}
        self._adopt()
        self._remove_excess()

    def submit_store(self, job_metadata: TransferJob) -> None:
        """Store blocks; they count once they are written."""
        self._storing[job_metadata.job_id] = list(job_metadata.keys)
        super().submit_store(job_metadata)

    def submit_load(self, job_metadata: TransferJob) -> None:
        """Load blocks, which are then the latest used."""
        for key in job_metadata.keys:
            if key in self._files:
                self._files.move_to_end(key)
        super().submit_load(job_metadata)

    def get_finished_jobs(self) -> Iterable[JobResult]:
        """Return finished jobs, and remove what they make too much."""
        results = list(super().get_finished_jobs())
        for result in results:
            stored = self._storing.pop(result.job_id, [])
            if result.success:
                for key in stored:
                    self._files[key] = None
                    self._files.move_to_end(key)
        for event in self.events or ():
            event.removal_expected = not event.removed  # so that vLLM keeps what a removal's event tells
        self._remove_excess()
        return results

    def _remove_excess(self) -> None:
        removed: list[OffloadKey] = []
        while len(self._files) > self._most_files:
            key, _ = self._files.popitem(last=False)
            Path(self.file_mapper.get_file_name(key)).unlink(missing_ok=True)  # another replica may have removed it
            removed.append(key)
        if removed:
            self._lookup_manager.mark_miss(removed)
            if self.events is not None:
                self.events.append(
                    OffloadingEvent(keys=removed, medium=self.medium, removed=True, locality=self.locality)
                )

    def _adopt(self) -> None:
        """Count the files of an earlier life, the latest written last."""
        root = Path(f"{self.file_mapper.base_path}_r{self.file_mapper.rank}")
        found = []
        for path in root.glob("*/*_g*/*.bin"):
            with suppress(OSError, ValueError):  # it has just gone, or is none of vLLM's
                group = int(path.parent.name.rpartition("_g")[2])
                found.append((path.stat().st_mtime_ns, make_offload_key(bytes.fromhex(path.stem), group)))
        self._files.update((key, None) for _, key in sorted(found))
