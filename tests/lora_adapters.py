"""LoRA adapters of SmolLM2-135M with random weights, in PEFT's form, and what a model with one merged in answers."""

import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

LAYERS: Final = 30
HIDDEN: Final = 576
OUTPUTS: Final = {"q_proj": 576, "v_proj": 192}
"""Outputs of the projections that are adapted: 9 heads of 64, and 3 KV heads."""
RANK: Final = 8
ALPHA: Final = 16
"""PEFT scales what an adapter adds by alpha / rank."""

Weights = dict[str, NDArray[np.float32]]


def random_weights(seed: int, strength: float = 0.03) -> Weights:
    """Return an adapter's weights; `strength` is their standard deviation."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for layer in range(LAYERS):
        for projection, outputs in OUTPUTS.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            weights[f"{name}.lora_A.weight"] = rng.normal(0, strength, (RANK, HIDDEN)).astype(np.float32)
            weights[f"{name}.lora_B.weight"] = rng.normal(0, strength, (outputs, RANK)).astype(np.float32)
    return weights


def write_adapter(folder: Path, weights: Weights, rank: int = RANK) -> Path:
    """Write an adapter in PEFT's form; return its folder."""
    from safetensors.numpy import save_file  # noqa: PLC0415 - comes with vLLM

    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": ALPHA,
        "target_modules": list(OUTPUTS),
        "base_model_name_or_path": "smollm2-135m-instruct",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(weights, str(folder / "adapter_model.safetensors"))
    return folder


def merged_answer(model_folder: Path, weights: Weights, question: str, tokens: int) -> str:
    """Return what Hugging Face's own model answers, greedily in float32, with an adapter merged into its weights."""
    import torch  # noqa: PLC0415 - seconds
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - seconds

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    for layer, block in enumerate(model.model.layers):
        for projection in OUTPUTS:
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            added = weights[f"{name}.lora_B.weight"] @ weights[f"{name}.lora_A.weight"] * (ALPHA / RANK)
            getattr(block.self_attn, projection).weight.data += torch.from_numpy(added)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        found = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(found[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
