"""How much room models take on the disk of a machine that downloads them, where their checkpoint is known.

A machine whose disk is too small does not say so before it has downloaded for an hour; on Kubernetes its pod is then
evicted, again and again. So the sizes of volumes come from here, and what cannot fit is refused before anything starts.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from cluster.planning.known_models import CHECKPOINTS, known_model
from cluster.spec.model_spec import ModelSpec

ON_DISK: Final = 1.05
"""Bytes of a checkpoint's folder for each byte of its weights as they are planned.

The rest is layers for multi-token prediction, tokenizers and indexes. DeepSeek-R1 has the most: 689 GB for 673.
"""

_LLAMA_8B: Final = ("Llama-3.1-8B", "Meta-Llama-3.1-8B", "Meta-Llama-3.1-8B-Instruct")
_LLAMA_70B: Final = ("Llama-3.1-70B", "Meta-Llama-3.1-70B", "Meta-Llama-3.1-70B-Instruct", "Llama-3.3-70B-Instruct")
_DEEPSEEK: Final = ("DeepSeek-V3", "DeepSeek-V3-0324", "DeepSeek-R1-0528", "DeepSeek-V3.1", "DeepSeek-V3.1-Terminus")
_QWEN3_235B: Final = ("Qwen3-235B-A22B-Instruct-2507", "Qwen3-235B-A22B-Thinking-2507")

SAME_SIZE: Final[Mapping[str, str]] = {
    "smollm2-135m-instruct": "smollm2-135m",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": "llama-3.1-8b",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": "llama-3.1-70b",
    "meta-llama/Llama-3.1-405B": "llama-3.1-405b",
    **{f"meta-llama/{name}": "llama-3.1-8b" for name in _LLAMA_8B},
    **{f"meta-llama/{name}": "llama-3.1-70b" for name in _LLAMA_70B},
    **{f"deepseek-ai/{name}": "deepseek-r1" for name in _DEEPSEEK},
    **{f"Qwen/{name}": "qwen3-235b-a22b" for name in _QWEN3_235B},
    **{f"Qwen/{name}-FP8": "qwen3-235b-a22b-fp8" for name in _QWEN3_235B},
}
"""Known models by the sources of other checkpoints that have their shape and their precision."""


def known_disk_bytes() -> dict[str, int]:
    """Return the bytes that each known source takes on a disk, by the source."""
    names = {source: name for name, source in CHECKPOINTS.items()} | dict(SAME_SIZE)
    return {source: round(known_model(name).weight_bytes * ON_DISK) for source, name in sorted(names.items())}


def downloads(pools: Iterable[ModelSpec]) -> dict[str, int]:
    """Return the bytes that each source of these models takes on a disk, by the source, where its size is known.

    Args:
        pools: the models, as their pools run them.
    """
    known = known_disk_bytes()
    sources = [
        source for pool in pools if pool.engine == "vllm" for source in (pool.source, pool.speculative.model) if source
    ]
    return {source: known[source] for source in dict.fromkeys(sources) if source in known}
