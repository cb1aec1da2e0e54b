"""Rules over the KV cache of a model and of its pools, whose problems are told beside all others, each at its key."""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.spec.pool_rules import merged
from cluster.spec.yaml_tree import Location


def kv_cache_rules(where: Location, model: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Yield the location and message of each `offload` that could keep nothing.

    Blocks are found again by the prefix that they hold, so without a prefix cache none is ever fetched.

    Args:
        where: the model's place in the file.
        model: its raw data.
    """
    pools = model.get("pools")
    listed = [pool if isinstance(pool, dict) else {} for pool in pools] if isinstance(pools, list) else []
    for position, pool in enumerate(listed or [{}]):
        offload = merged(model, pool, "kv_cache").get("offload")
        if not isinstance(offload, dict) or not offload.get("cpu_gb"):
            continue
        key = _uncached(model, pool)
        if key:
            own = pool.get("kv_cache")
            at = (*where, "pools", position) if isinstance(own, dict) and "offload" in own else where
            yield (*at, "kv_cache", "offload"), f"keeps nothing: {key} is false, so no prompt's blocks are found again"


def _uncached(model: Mapping[str, Any], pool: Mapping[str, Any]) -> str:
    """Return the key that turns a pool's prefix cache off; "": none does."""
    if model.get("engine", "vllm") == "sim":
        return "sim.prefix_caching" if merged(model, pool, "sim").get("prefix_caching") is False else ""
    arguments = {str(key).replace("-", "_"): value for key, value in merged(model, pool, "engine_args").items()}
    return "engine_args.enable_prefix_caching" if arguments.get("enable_prefix_caching") is False else ""
