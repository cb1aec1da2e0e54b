"""KV blocks beyond the cache, on CPUs: the copying alone, which vLLM 0.32 has for GPUs only.

What vLLM does around it is its own: which blocks are kept and evicted, tiers of files, events, metrics. Imported by the
engine's process, by the names that `offload` gives it.
"""

import time

import numpy as np
import torch
from vllm.v1.kv_offload.base import (
    BlockIDsLoadStoreSpec,
    CanonicalKVCaches,
    GPULoadStoreSpec,
    OffloadingWorker,
    TransferResult,
)
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class HostCopier(OffloadingWorker):
    """Copies KV blocks between the cache and the memory where those are kept that leave it; each copy is over at once.

    Args:
        caches: the cache of each layer, by blocks.
        blocks_per_chunk: blocks that are kept together.
        chunks: chunks that there is room for.
        region: the memory, which all ranks of the machine share, and its files' tier reads; None: this rank's own.
    """

    def __init__(
        self, caches: CanonicalKVCaches, blocks_per_chunk: int, chunks: int, region: SharedOffloadRegion | None
    ) -> None:
        self._groups = caches.group_data_refs
        self._per_chunk = blocks_per_chunk
        self._region = region
        self._finished: list[TransferResult] = []
        self._caches: list[torch.Tensor] = []
        self._kept: list[torch.Tensor] = []  # of each cache, by chunk and block
        for cache in caches.tensors:
            page = cache.page_size_bytes
            self._caches.append(cache.tensor.view(torch.int8).view(-1, page))
            size = page * blocks_per_chunk
            kept = (
                region.create_next_worker_view(size)
                if region is not None
                else torch.zeros((chunks, size), dtype=torch.int8)
            )
            self._kept.append(kept.unflatten(1, (blocks_per_chunk, page)))

    def submit_store(self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: BlockIDsLoadStoreSpec) -> bool:
        """Keep blocks of the cache."""
        self._copy(job_id, src_spec, dst_spec, to_cache=False)
        return True

    def submit_load(self, job_id: int, src_spec: BlockIDsLoadStoreSpec, dst_spec: GPULoadStoreSpec) -> bool:
        """Bring kept blocks back to the cache."""
        self._copy(job_id, dst_spec, src_spec, to_cache=True)
        return True

    def get_finished(self) -> list[TransferResult]:
        """Return the copies made since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Return: no copy is under way."""

    def shutdown(self) -> None:
        """Let the memory go."""
        self._caches.clear()
        self._kept.clear()
        if self._region is not None:
            self._region.cleanup()
            self._region = None

    def _copy(self, job_id: int, cache: GPULoadStoreSpec, kept: BlockIDsLoadStoreSpec, *, to_cache: bool) -> None:
        """Copy the blocks of each group of layers; a prompt's first block may lie within a chunk."""
        began_s = time.perf_counter()
        copied_bytes = block = chunk = 0
        for layers, blocks, first in zip(self._groups, cache.group_sizes, cache.block_indices, strict=True):
            if not blocks:
                continue
            skipped = first % self._per_chunk
            chunks = -(-(skipped + blocks) // self._per_chunk)
            places = torch.from_numpy(np.arange(skipped, skipped + blocks))
            in_cache = torch.from_numpy(cache.block_ids[block : block + blocks]).long()
            in_chunks = torch.from_numpy(kept.block_ids[chunk : chunk + chunks]).long()[places // self._per_chunk]
            in_chunk = places % self._per_chunk
            for layer in layers:
                of_cache, of_kept = self._caches[layer.tensor_idx], self._kept[layer.tensor_idx]
                size = layer.page_size_bytes
                if to_cache:
                    of_cache[in_cache, :size] = of_kept[in_chunks, in_chunk, :size]
                else:
                    of_kept[in_chunks, in_chunk, :size] = of_cache[in_cache, :size]
                copied_bytes += blocks * size
            block += blocks
            chunk += chunks
        self._finished.append(TransferResult(job_id, True, copied_bytes, time.perf_counter() - began_s))  # noqa: FBT003 - vLLM's own


class HostOffloadingSpec(CPUOffloadingSpec):
    """VLLM's offloading to host memory, with the copying of this file."""

    _worker: OffloadingWorker | None

    def get_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        """Return the worker, which keeps blocks in memory of its own."""
        if self._worker is None:
            self._worker = HostCopier(kv_caches, self.blocks_per_chunk, self.num_chunks, None)
        return self._worker


class HostTieringSpec(TieringOffloadingSpec):
    """VLLM's offloading to host memory and to tiers below it, with the copying of this file."""

    _worker: OffloadingWorker | None

    def get_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        """Return the worker, which keeps blocks where the tiers below read them.

        Raises:
            ValueError: blocks are to be kept in vLLM's canonical layout, which this worker does not know.
        """
        if self._worker is None:
            if self.config.canonical_layout:
                raise ValueError("canonical_layout: the worker for CPUs keeps blocks as each rank has them")
            region = SharedOffloadRegion(
                engine_id=self.config.engine_id,
                num_chunks=self.num_chunks,
                rank=0 if self.replicated_layout else self.config.parallel.rank,
                kv_bytes_per_chunk=self.kv_bytes_per_chunk,
                cpu_page_size=self.cpu_page_size_per_worker,
            )
            self._worker = HostCopier(kv_caches, self.blocks_per_chunk, self.num_chunks, region)
        return self._worker
