"""Builds SmolLM2 with the two tokens and the chat template of a model that reasons, 270 MB.

`python -m tests.engine_contract.reasoning_model FOLDER`. It has not learnt to reason: what it says in its reasoning is
what it would have answered. But an engine takes it for one that does.
"""

import subprocess
import sys
from pathlib import Path

from deployments.models.source import fetch

# ruff: noqa: PLC0415 - PyTorch takes seconds to load, and only the building process needs it

TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif -%}"""


def build(folder: Path) -> Path:
    """Build the model in a process of its own; return its folder."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine_contract.reasoning_model", str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _write(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = str(fetch("smollm2-135m-instruct"))
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    tokenizer.chat_template = TEMPLATE
    model = AutoModelForCausalLM.from_pretrained(source)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
