"""How much room models take on the disk of a machine that downloads them, where their checkpoint is known.

A machine whose disk is too small does not say so before it has downloaded for an hour; on Kubernetes its pod is then
evicted, again and again. So the sizes of volumes come from here, and what cannot fit is refused before anything starts.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cluster.model_shapes.known_models import CHECKPOINTS, known_model
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


PLANNED_GB: Final[Mapping[str, float]] = {
    "MiniMaxAI/MiniMax-M2": 230.0,
    "Qwen/Qwen2.5-72B-Instruct": 145.4,
    "Qwen/Qwen2.5-72B-Instruct-AWQ": 41.5,
    "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4": 41.5,
    "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8": 76.8,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 61.1,
    "Qwen/Qwen3-8B": 16.4,
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": 960.3,
    "Qwen/Qwen3-Next-80B-A3B-Instruct": 159.3,
    "Qwen/Qwen3-VL-235B-A22B-Instruct": 471.3,
    "deepseek-ai/DeepSeek-V3.2": 674.1,
    "google/gemma-3-27b-it": 54.9,
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": 803.2,
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": 217.3,
    "moonshotai/Kimi-K2-Instruct": 1029.2,
    "moonshotai/Kimi-K2-Instruct-0905": 1029.2,
    "moonshotai/Kimi-K2-Thinking": 594.2,
    "moonshotai/Kimi-K2.5": 595.1,
    "nvidia/DeepSeek-R1-FP4": 396.7,
    "openai/gpt-oss-20b": 13.8,
    "zai-org/GLM-4.5": 705.6,
    "zai-org/GLM-4.5-Air": 213.7,
}
"""GB of the weights of checkpoints without a name in plan files, as `rackserve plan` counts them from `config.json`."""

_BILLIONS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)[bB](?![A-Za-z])")


def known_disk_bytes() -> dict[str, int]:
    """Return the bytes that each known source takes on a disk, by the source."""
    names = {source: name for name, source in CHECKPOINTS.items()} | dict(SAME_SIZE)
    weights = {source: known_model(name).weight_bytes for source, name in names.items()}
    weights |= {source: gb * 1e9 for source, gb in PLANNED_GB.items()}
    return {source: round(weights[source] * ON_DISK) for source in sorted(weights)}


def guessed_disk_bytes(source: str) -> int:
    """Return what an unknown source may take on a disk: two bytes for each parameter, if its name tells their number.

    Too much for a quantised checkpoint. So disks may be made as large, but nothing is refused for it. 0: no number.
    """
    billions = [float(found) for found in _BILLIONS.findall(source.rpartition("/")[2])]
    return round(max(billions, default=0.0) * 2e9 * ON_DISK)


def disk_bytes(pools: Iterable[ModelSpec]) -> int:
    """Return the bytes that a machine's disk should have for these models, with a guess where a size is not known."""
    known = known_disk_bytes()
    return sum(known.get(source) or guessed_disk_bytes(source) for source in _sources(pools))


def _sources(pools: Iterable[ModelSpec]) -> list[str]:
    """Return what these models' machines download, or have in a folder: weights of models and of their drafts."""
    pairs = ((pool.source, pool.speculative.model) for pool in pools if pool.engine == "vllm")
    return list(dict.fromkeys(source for pair in pairs for source in pair if source and source[0] not in "./~"))


def downloads(pools: Iterable[ModelSpec]) -> dict[str, int]:
    """Return the bytes that each source of these models takes on a disk, by the source, where its size is known.

    Args:
        pools: the models, as their pools run them.
    """
    known = known_disk_bytes()
    return {source: known[source] for source in _sources(pools) if source in known}
