"""Builds a small vision-language model with random weights: a LLaVA of CLIP and a 4-layer Llama, 54 MB.

`python -m tests.engine_contract.vision_model FOLDER`. What it says means nothing, but it depends on its images, and the
path of an image is that of a real one. Its tokenizer is SmolLM2's.
"""

import json
import subprocess
import sys
from pathlib import Path

from deployments.models.source import fetch

# ruff: noqa: PLC0415 - PyTorch takes seconds to load, and only the building process needs it

IMAGE_SIDE = 32
PATCH_SIDE = 4
IMAGE_TOKENS = (IMAGE_SIDE // PATCH_SIDE) ** 2
"""Prompt tokens of an image: one for each of its patches."""
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""


def build(folder: Path) -> Path:
    """Build the model in a process of its own; return its folder."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine_contract.vision_model", str(folder)],
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
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(str(fetch("smollm2-135m-instruct")))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 4, "hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.15}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **sizes, num_hidden_layers=3, image_size=IMAGE_SIDE, patch_size=PATCH_SIDE, projection_dim=64
        ),
        text_config=LlamaConfig(
            **sizes,
            num_hidden_layers=4,
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=2048,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=IMAGE_TOKENS,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file({_older_name(name): value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    tokenizer.save_pretrained(folder)
    # The processor's parts are written by hand: the classes that transformers would save need torchvision.
    about = {
        "processor_class": "LlavaProcessor",
        "image_processor_type": "CLIPImageProcessorPil",
        "patch_size": PATCH_SIDE,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
        "image_token": "<image>",
        "size": {"shortest_edge": IMAGE_SIDE},
        "crop_size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    processor = {key: about[key] for key in list(about)[2:6]} | {"processor_class": "LlavaProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(processor))


def _older_name(name: str) -> str:
    """Return a weight's name as vLLM 0.32 reads it: transformers 5 leaves out one of its levels."""
    return name if ".vision_model." in name else name.replace("vision_tower.", "vision_tower.vision_model.")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
