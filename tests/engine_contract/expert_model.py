"""Builds a small mixture of experts with random weights: a Qwen3-MoE of 4 layers and 8 experts, 2 active, 56 MB.

`python -m tests.engine_contract.expert_model FOLDER`. What it says means nothing, but each token depends on its
experts. Its tokenizer is SmolLM2's.
"""

import subprocess
import sys
from pathlib import Path

from deployments.models.source import fetch

# ruff: noqa: PLC0415 - PyTorch takes seconds to load, and only the building process needs it

EXPERTS = 8


def build(folder: Path) -> Path:
    """Build the model in a process of its own; return its folder."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine_contract.expert_model", str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _write(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(str(fetch("smollm2-135m-instruct")))
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.1,
        tie_word_embeddings=True,
    )
    Qwen3MoeForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
