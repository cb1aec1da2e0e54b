"""The simulated engine's `/metrics`, with vLLM's names for the same numbers."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deployments.engines.sim.generation.core import SimCore


class SimMetrics(Collector):
    """Reads a simulation's numbers at each scrape.

    Args:
        core: the simulation.
        model: the served model's name, used as a label.
    """

    def __init__(self, core: SimCore, model: str) -> None:
        self._core = core
        self._model = model
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """Return the metrics as Prometheus text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        stats, totals, scheduler = self._core.stats(), self._core.totals, self._core.scheduler
        gauges = {
            "num_requests_running": ("Number of requests in model execution batches.", stats.running),
            "num_requests_waiting": ("Number of requests waiting to be processed.", stats.waiting),
            "kv_cache_usage_perc": ("KV-cache usage. 1 means 100 percent usage.", stats.kv_usage),
        }
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(f"vllm:{name}", text, labels=["model_name"])
            gauge.add_metric([self._model], value)
            yield gauge
        counters = {
            "prompt_tokens": ("Number of prefill tokens processed.", totals.prompt_tokens),
            "generation_tokens": ("Number of generation tokens processed.", totals.generated_tokens),
            "prefix_cache_queries": ("Prefix cache queries, in number of tokens.", totals.prompt_tokens),
            "prefix_cache_hits": ("Prefix cache hits, in number of tokens.", totals.cached_tokens),
            "num_preemptions": ("Cumulative number of preemption from the engine.", scheduler.preemptions),
        }
        for name, (text, value) in counters.items():
            counter = CounterMetricFamily(f"vllm:{name}", text, labels=["model_name"])
            counter.add_metric([self._model], value)
            yield counter
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
