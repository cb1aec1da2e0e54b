"""Turns a GGUF file into an ordinary bf16 Hugging Face folder: `python -m deployments.models.convert GGUF OUT`.

`build.build` runs it as a subprocess, so that PyTorch and the weights stay out of the caller's memory.
"""

import sys
from pathlib import Path

# ruff: noqa: PLC0415 - PyTorch is an extra and takes seconds to load, so it is imported only when needed


def convert(gguf: Path, out: Path) -> None:
    """Write the model in `gguf` to the folder `out` as bf16 safetensors, with its tokenizer and chat template.

    Raises:
        ImportError: torch, transformers, gguf or accelerate is not installed.
        ValueError: the file has no chat template.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder = str(gguf.parent)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        raise ValueError(f"{gguf.name} carries no chat template")
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
        dtype=torch.bfloat16,
    )
    # Saves a plain model: with these two set, loaders would look for the GGUF quantization again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
