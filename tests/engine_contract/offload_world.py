"""vLLM's own side of offloading: the manager's calls to a tier of files, and a scheduler's report. Imports vLLM."""

import mmap
import time
from pathlib import Path

import numpy as np
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
from vllm.v1.kv_offload.base import OffloadKey, ReqContext, make_offload_key
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)
from vllm.v1.kv_offload.tiering.base import TransferJob
from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec
from vllm.v1.metrics.cache_hit_source import CacheHitSource
from vllm.v1.metrics.stats import PrefixCacheStats, SchedulerStats

from deployments.engines.vllm.kv.disk_tier import BoundedDiskTier
from deployments.engines.vllm.kv.offload_meter import LOAD_S, READ_S

BLOCK_BYTES = 4096
SLOTS = 8


class Tier:
    """A tier that vLLM's factory made of our settings, and the memory that it stores from."""

    def __init__(self, folder: Path, most_blocks: int) -> None:
        pages = mmap.mmap(-1, SLOTS * BLOCK_BYTES)  # files are read past the page cache, which needs aligned memory
        self.memory = np.frombuffer(pages, np.uint8).reshape(SLOTS, BLOCK_BYTES)
        settings = {
            "type": "BoundedDiskTier",
            "module_path": "deployments.engines.vllm.kv.disk_tier",
            "root_dir": str(folder),
            "most_bytes": most_blocks * BLOCK_BYTES,
        }
        made = SecondaryTierFactory.create_secondary_tier(
            settings, memoryview(pages).cast("B", (SLOTS, BLOCK_BYTES)), _spec()
        )
        assert isinstance(made, BoundedDiskTier)
        self.manager = made
        self._jobs = 0

    def run(self, blocks: list[int], *, load: bool = False) -> bool:
        """Store blocks, or load them to the same slots; return whether that worked."""
        self._jobs += 1
        slots = np.array([block % SLOTS for block in blocks])
        job = TransferJob(self._jobs, [key(block) for block in blocks], slots, load, ReqContext(req_id="r"))
        if load:
            self.manager.submit_load(job)
        else:
            self.memory[slots] = np.array(blocks, np.uint8)[:, None]
            self.manager.submit_store(job)
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s:
            for result in self.manager.get_finished_jobs():
                return bool(result.success)
            time.sleep(0.005)
        raise TimeoutError

    def events(self) -> list[tuple[bool, list[OffloadKey]]]:
        """Return what it tells: whether blocks were removed, and which."""
        return [(event.removed, list(event.keys)) for event in self.manager.take_events()]


def key(block: int) -> OffloadKey:
    """Return a block's name."""
    return make_offload_key(block.to_bytes(32, "big"), 0)


def _spec() -> TieringOffloadingSpec:
    return TieringOffloadingSpec(
        OffloadingConfig(
            groups=(OffloadingGroupConfig(tokens_per_block=16, layer_names=("layer",), group_id=0),),
            worker_kv_bytes_per_block=BLOCK_BYTES,
            enable_kv_cache_events=True,
            extra_config={"cpu_bytes_to_use": SLOTS * BLOCK_BYTES},
            engine_id="e",
            model=OffloadingModelConfig(name="org/model", dtype="float16"),
            cache=OffloadingCacheConfig(tokens_per_hash=16, blocks_per_chunk=1),
            parallel=OffloadingParallelConfig(
                rank=0,
                world_size=1,
                tp_size=1,
                pp_size=1,
                pcp_size=1,
                dcp_size=1,
                data_parallel_index=0,
                data_parallel_size=1,
                data_parallel_rank_local=None,
                is_parallelism_agnostic=True,
            ),
        )
    )


def report(load_s: float, read_s: float, *, of_several: bool = False, **hits: int) -> SchedulerStats:
    """Return a report with the seconds of transfers, and tokens found by their source."""
    stats = OffloadingConnectorStats()
    stats.increase_counter(LOAD_S, load_s)
    for tier in ("1:fs", "2:obj"):
        stats.increase_counter(READ_S, read_s / 2, (tier,))
    found = PrefixCacheStats(hits_by_source={CacheHitSource(source): count for source, count in hits.items()})
    figures = {"NixlConnector": {"some": "figures"}, "OffloadingConnector": stats.data} if of_several else stats.data
    return SchedulerStats(connector_prefix_cache_stats=found, kv_connector_stats=figures)
