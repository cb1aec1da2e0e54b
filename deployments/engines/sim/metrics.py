"""The simulated engine's `/metrics`, with vLLM's names for the same numbers."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from deployments.engines.sim.generation.core import SimCore
from deployments.engines.sim.transfer.exchange import KvExchange
from deployments.engines.sim.transfer.figures import Distribution
from router.replicas.speculation_report import SpeculationReport


class SimMetrics(Collector):
    """Reads an engine's numbers at each scrape: those of each data-parallel rank, with vLLM's label `engine`.

    Args:
        model: the served model's name, used as a label.
        cores: the simulation of each rank.
        exchanges: each rank's, which passes KV blocks from and to other engines; none: nothing does.
    """

    def __init__(self, model: str, cores: Sequence[SimCore], exchanges: Sequence[KvExchange] = ()) -> None:
        of_ranks: Sequence[KvExchange | None] = exchanges or [None] * len(cores)
        self._ranks = [_RankMetrics(core, model, exchange) for core, exchange in zip(cores, of_ranks, strict=True)]
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """Return the metrics as Prometheus text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        found: dict[str, Metric] = {}
        for rank, metrics in enumerate(self._ranks):
            for metric in metrics.collect():
                samples = [each._replace(labels={**each.labels, "engine": str(rank)}) for each in metric.samples]
                known = found.setdefault(metric.name, metric)
                known.samples = samples if known is metric else known.samples + samples
        yield from found.values()


class _RankMetrics:
    """Reads one rank's numbers."""

    def __init__(self, core: SimCore, model: str, exchange: KvExchange | None) -> None:
        self._core = core
        self._exchange = exchange
        self._model = model

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as a single rank has it."""
        stats, totals, scheduler = self._core.stats(), self._core.totals, self._core.scheduler
        gauges = {
            "num_requests_running": ("Number of requests in model execution batches.", stats.running),
            "num_requests_waiting": ("Number of requests waiting to be processed.", stats.waiting),
            "kv_cache_usage_perc": ("KV-cache usage. 1 means 100 percent usage.", stats.kv_usage),
        }
        yield from self._gauges(gauges)
        counters = {
            "prompt_tokens": ("Number of prefill tokens processed.", totals.prompt_tokens),
            "generation_tokens": ("Number of generation tokens processed.", totals.generated_tokens),
            "prefix_cache_queries": ("Prefix cache queries, in number of tokens.", totals.prompt_tokens),
            "prefix_cache_hits": ("Prefix cache hits, in number of tokens.", totals.cached_tokens),
            "num_preemptions": ("Cumulative number of preemption from the engine.", scheduler.preemptions),
        }
        yield from self._counters(counters)
        sources = CounterMetricFamily(
            "vllm:prompt_tokens_by_source", "Number of prompt tokens by source.", labels=["model_name", "source"]
        )
        computed = totals.prompt_tokens - totals.cached_tokens - totals.fetched_tokens
        sources.add_metric([self._model, "local_compute"], computed)
        sources.add_metric([self._model, "local_cache_hit"], totals.cached_tokens)
        sources.add_metric([self._model, "external_kv_transfer"], totals.fetched_tokens)
        yield sources
        spec = self._core.spec
        config = GaugeMetricFamily(
            "vllm:cache_config_info",
            "Information of the LLMEngine CacheConfig",
            labels=["block_size", "engine", "num_gpu_blocks"],
        )
        # One more, because vLLM's number includes the block that it always keeps empty.
        config.add_metric([str(spec.block_tokens), "0", str(spec.kv_blocks + 1)], 1)
        yield config
        ended = CounterMetricFamily(
            "vllm:request_success", "Count of processed requests.", labels=["model_name", "finished_reason"]
        )
        for reason, count in totals.finished.items():
            ended.add_metric([self._model, reason], count)
        yield ended
        if stats.speculation is not None:
            yield from self._speculation(stats.speculation)
        if scheduler.tiers:
            fetches = scheduler.tiers.fetches
            loaded = fetches.tokens * spec.kv_bytes_per_token
            yield from self._counters(
                {
                    "kv_offload_load_bytes": ("Total bytes loaded from offload storage.", loaded),
                    "kv_offload_load_time": ("Total load time from offload storage, in seconds.", fetches.seconds),
                }
            )
        if self._exchange is not None:
            yield from self._transfers(self._exchange)

    def _speculation(self, report: SpeculationReport) -> Iterator[Metric]:
        counters = {
            "spec_decode_num_drafts": ("Number of spec decoding drafts.", report.drafts),
            "spec_decode_num_draft_tokens": ("Number of draft tokens.", report.draft_tokens),
            "spec_decode_num_accepted_tokens": ("Number of accepted tokens.", report.accepted_tokens),
        }
        yield from self._counters(counters)
        by_position = CounterMetricFamily(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Accepted tokens per draft position.",
            labels=["model_name", "position"],
        )
        for position, count in enumerate(report.accepted_by_position):
            by_position.add_metric([self._model, str(position)], count)
        yield by_position

    def _transfers(self, exchange: KvExchange) -> Iterator[Metric]:
        figures, scheduler = exchange.figures, self._core.scheduler
        yield self._histogram(
            "nixl_xfer_time_seconds", "Histogram of transfer duration for KV Cache transfers.", figures.seconds
        )
        yield self._histogram(
            "nixl_bytes_transferred", "Histogram of bytes transferred per KV Cache transfers.", figures.bytes
        )
        yield from self._counters(
            {
                "nixl_num_failed_transfers": ("Number of failed KV Cache transfers.", figures.failed),
                "nixl_num_kv_expired_reqs": ("Number of requests that had their KV expire.", figures.expired),
                "nixl_num_notifications_after_expiry": ("Number of notices after the lease's end.", figures.late),
            }
        )
        stages = GaugeMetricFamily(
            "vllm:num_requests_kv_fetch_by_stage",
            "Number of waiting requests by async KV load stage.",
            labels=["model_name", "stage"],
        )
        stages.add_metric([self._model, "waiting_to_start"], exchange.waiting_to_fetch)
        stages.add_metric([self._model, "in_progress"], scheduler.fetching)
        stages.add_metric([self._model, "completed_waiting"], scheduler.fetched)
        yield stages
        kept = {
            "kept_requests": ("Number of ended requests whose blocks are kept for other engines.", exchange.kept),
            "kept_blocks": ("Number of KV blocks kept for other engines.", scheduler.kept_blocks),
        }
        yield from self._gauges(kept, prefix="sim")

    def _gauges(self, gauges: Mapping[str, tuple[str, float]], prefix: str = "vllm") -> Iterator[Metric]:
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(f"{prefix}:{name}", text, labels=["model_name"])
            gauge.add_metric([self._model], value)
            yield gauge

    def _counters(self, counters: Mapping[str, tuple[str, float]]) -> Iterator[Metric]:
        for name, (text, value) in counters.items():
            counter = CounterMetricFamily(f"vllm:{name}", text, labels=["model_name"])
            counter.add_metric([self._model], value)
            yield counter

    def _histogram(self, name: str, text: str, values: Distribution) -> Metric:
        histogram = HistogramMetricFamily(f"vllm:{name}", text, labels=["model_name"])
        histogram.add_metric([self._model], list(values.cumulative()), values.total)
        return histogram
