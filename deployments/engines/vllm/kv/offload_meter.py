"""Measures what vLLM fetches from below the device, from its schedulers' reports."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cluster.kv_tiers.fetch_time import from_host_s
from deployments.engines.fetch_meter import FetchMeter, FetchStats
from deployments.engines.vllm.kv.offload import CONNECTOR
from deployments.engines.vllm.kv.transfer import kv_bytes_per_token

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.metrics.stats import SchedulerStats

BELOW: Final = ("host", "disk")
"""Sources of a prompt's tokens that count as fetches, as vLLM names them."""
LOAD_S: Final = "vllm:kv_offload_load_time"
"""Seconds of loads from host memory, of all ranks together, which load at the same time."""
READ_S: Final = "vllm:kv_offload_tiering_read_time"
"""Seconds of reads from files to host memory."""


class OffloadMeter:
    """Adds up fetches.

    Args:
        s_per_token: seconds that a token takes, as far as is known before any fetch.
        ranks: ranks of one engine.
    """

    def __init__(self, s_per_token: float, ranks: int) -> None:
        self._fetches = FetchMeter(s_per_token)
        self._ranks = ranks

    @classmethod
    def of(cls, config: "VllmConfig") -> "OffloadMeter | None":
        """Return the meter of an engine; None: it keeps nothing below its device."""
        transfer = config.kv_transfer_config
        if transfer is None or not transfer.has_connector(CONNECTOR):
            return None
        ranks = config.parallel_config.world_size
        return cls(from_host_s(kv_bytes_per_token(config) / ranks), ranks)

    def take(self, stats: "SchedulerStats") -> None:
        """Take one report: tokens that were found below the device, and the time of transfers that have ended."""
        found = stats.connector_prefix_cache_stats
        hits = found.hits_by_source if found is not None else {}
        tokens = sum(count for source, count in hits.items() if source.value in BELOW)
        seconds = _seconds(stats.kv_connector_stats or {}, LOAD_S) / self._ranks
        seconds += _seconds(stats.kv_connector_stats or {}, READ_S)
        if tokens or seconds:
            self._fetches.fetched(tokens, seconds)

    def stats(self) -> FetchStats:
        """Return what was measured so far."""
        return self._fetches.stats()


def _seconds(stats: Mapping[str, Any], name: str) -> float:
    """Return a counter of the offloading connector, over its labels, from its own figures or those of several."""
    own = stats.get(CONNECTOR, stats)
    counted = own.get("data", {}).get(name, {})
    return float(sum(counted.values()))
