"""Prints the bytes that vLLM reserves for the slots of LoRA adapters: `python -m … MODEL_FOLDER SLOTS RANK`."""

import os
import sys
from typing import Any, Final

STACKED: Final = (
    "lora_a_stacked",
    "lora_b_stacked",
    "w13_lora_a_stacked",
    "w13_lora_b_stacked",
    "w2_lora_a_stacked",
    "w2_lora_b_stacked",
)
"""Names of the tensors in which vLLM's layers keep adapters."""


def reserved_bytes(model: Any) -> int:  # noqa: ANN401 - a model of PyTorch
    """Return the bytes that a model's layers keep for adapters; experts' are there once more, slot by slot."""
    found: dict[int, int] = {}
    for module in model.modules():
        for name in STACKED:
            kept = getattr(module, name, ())
            for tensor in kept if isinstance(kept, tuple | list) else (kept,):
                memory = tensor.untyped_storage()
                found[memory.data_ptr()] = memory.nbytes()
    return sum(found.values())


def main() -> None:
    """Load the model with empty slots, in this process, and print their bytes."""
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    from vllm import LLM  # noqa: PLC0415 - it reads its environment once

    folder, slots, rank = sys.argv[1:]
    llm = LLM(
        model=folder,
        dtype="float32",
        enforce_eager=True,
        compilation_config={"custom_ops": ["none"]},
        max_model_len=64,
        block_size=32,
        kv_cache_memory_bytes=1 << 25,
        enable_lora=True,
        max_loras=int(slots),
        max_lora_rank=int(rank),
    )
    (found,) = llm.apply_model(reserved_bytes)
    sys.stdout.write(f"RESERVED {found}\n")


if __name__ == "__main__":
    main()
