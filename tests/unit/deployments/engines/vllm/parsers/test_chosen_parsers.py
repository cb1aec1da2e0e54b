"""Parsers of tool calls and reasoning fit the model's family, and what the cluster file says comes first."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.known_arguments import known_arguments
from deployments.engines.vllm.parsers.chosen_parsers import parser_arguments
from deployments.engines.vllm.parsers.model_family import REASONING_PARSERS, TOOL_PARSERS

# What of each family's chat template says how it writes.
HERMES = """{%- if tools %}{{- 'return a json object with function name and arguments within <tool_call></tool_call> XML
tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call>' }}{%- endif %}"""
QWEN3 = (
    HERMES
    + "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>' }}{%- endif %}"
)
QWEN3_INSTRUCT = (
    HERMES + "{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}"
)
QWEN3_THINKING = HERMES + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
QWEN3_CODER = "{{- '<tool_call>\\n<function=example_function_name>\\n<parameter=a>\\n' }}"
LLAMA = """{{- 'Respond in the format {"name": function name, "parameters": dictionary of argument names}.' }}"""
R1 = "{% set content = content.split('</think>')[-1] %}{{'<|Assistant|><think>\\n'}}"
V31 = "{%- if thinking %}{{'<think>'}}{%- else %}{{'</think>'}}{%- endif %}"
PLAIN = "{% for message in messages %}{{ message['content'] }}{% endfor %}"

FAMILIES: list[tuple[str, str, str, str | None, str | None]] = [
    ("Qwen/Qwen2.5-7B-Instruct", "qwen2", HERMES, "hermes", None),
    ("Qwen/QwQ-32B", "qwen2", HERMES + "<think>", "hermes", "deepseek_r1"),
    ("Qwen/Qwen3-32B", "qwen3", QWEN3, "hermes", "qwen3"),
    ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3_moe", QWEN3_INSTRUCT, "hermes", None),
    ("Qwen/Qwen3-235B-A22B-Thinking-2507", "qwen3_moe", QWEN3_THINKING, "hermes", "qwen3"),
    ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_moe", QWEN3_CODER, "qwen3_coder", None),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama", LLAMA, "llama3_json", None),
    ("NousResearch/Hermes-3-Llama-3.1-8B", "llama", HERMES, "hermes", None),
    ("deepseek-ai/DeepSeek-R1", "deepseek_v3", R1, None, "deepseek_r1"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2", R1, None, "deepseek_r1"),
    ("deepseek-ai/DeepSeek-V3.1", "deepseek_v3", V31, None, "deepseek_v3"),
    ("deepseek-ai/DeepSeek-V3-0324", "deepseek_v3", PLAIN, None, None),
    ("openai/gpt-oss-120b", "gpt_oss", PLAIN, "openai", "openai_gptoss"),
    ("zai-org/GLM-4.5-Air", "glm4_moe", "<tool_call>{name}<think></think>", "glm45", "glm45"),
    ("moonshotai/Kimi-K2-Instruct", "kimi_k2", "<|tool_calls_section_begin|>", "kimi_k2", None),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistral", "{{- '[TOOL_CALLS] [' }}", "mistral", None),
    ("ByteDance-Seed/Seed-OSS-36B-Instruct", "seed_oss", "<seed:tool_call> <seed:think>", "seed_oss", "seed_oss"),
    ("smollm2-135m-instruct", "llama", PLAIN, None, None),
    ("/models/unknown", "", "", None, None),
]


def files(model_type: str, template: str, *, in_tokenizer: bool = False) -> dict[str, bytes]:
    """Return a model's files."""
    found = {"config.json": json.dumps({"model_type": model_type}).encode()}
    if in_tokenizer:
        return {**found, "tokenizer_config.json": json.dumps({"chat_template": template}).encode()}
    return {**found, "chat_template.jinja": template.encode()}


def arguments(model_files: dict[str, bytes], **keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any key
    """Return what a model gets."""
    return parser_arguments(ModelSpec.model_validate({"name": "m", "source": "org/m", **keys}), model_files.get)


@pytest.mark.parametrize(
    ("source", "model_type", "template", "tools", "reasoning"), FAMILIES, ids=[f[0] for f in FAMILIES]
)
@pytest.mark.parametrize("in_tokenizer", [False, True])
def test_a_family_has_its_parsers(  # noqa: PLR0913, PLR0917 - one case
    source: str,
    model_type: str,
    template: str,
    tools: str | None,
    reasoning: str | None,
    in_tokenizer: bool,  # noqa: FBT001
) -> None:
    """By the config's type, the chat template wherever it stands, and the name where several share the rest."""
    found = arguments(files(model_type, template, in_tokenizer=in_tokenizer), source=source)
    assert found.get("tool_call_parser") == tools
    assert found.get("reasoning_parser") == reasoning
    assert found.get("enable_auto_tool_choice", False) is (tools is not None)


def test_the_file_comes_first() -> None:
    """A name, `none`, vLLM's own arguments, and a template, which then says how the model writes."""
    qwen = files("qwen3", QWEN3)
    named = arguments(qwen, tool_call_parser="xlam", reasoning_parser="none")
    assert named == {"tool_call_parser": "xlam", "enable_auto_tool_choice": True}
    assert arguments(qwen, engine_args={"tool-call-parser": "xlam", "reasoning_parser": ""}) == {}
    templated = arguments(files("llama", PLAIN), chat_template=LLAMA)
    assert templated == {"chat_template": LLAMA, "tool_call_parser": "llama3_json", "enable_auto_tool_choice": True}


def test_a_template_may_be_a_file(tmp_path: Path) -> None:
    """Then what is in it counts."""
    file = tmp_path / "tools.jinja"
    file.write_text(LLAMA)
    found = arguments(files("llama", PLAIN), chat_template=str(file))
    assert (found["chat_template"], found["tool_call_parser"]) == (str(file), "llama3_json")
    assert "tool_call_parser" not in arguments(files("llama", LLAMA), chat_template="/no/such/file")


def test_a_model_that_embeds_has_none() -> None:
    """It generates no answers to look through."""
    assert arguments(files("qwen3", QWEN3), task="embed") == {}
    assert arguments(files("qwen3", QWEN3), engine_args={"runner": "pooling"}) == {}


def test_several_templates_and_broken_files() -> None:
    """Named templates count all; what cannot be read is as if it were not there."""
    named = {"chat_template": [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": HERMES}]}
    found = arguments({"config.json": b'{"model_type": "llama"}', "tokenizer_config.json": json.dumps(named).encode()})
    assert found["tool_call_parser"] == "hermes"
    assert arguments({"config.json": b"{", "tokenizer_config.json": b"[]"}) == {}
    assert arguments({}) == {}


def test_every_parser_in_the_tables_is_one_of_vllms() -> None:
    """Of the release that the list of arguments is of."""
    known = known_arguments()
    assert {rule.parser for rule in TOOL_PARSERS} <= set(known["tool_call_parser"].choices)
    assert {rule.parser for rule in REASONING_PARSERS} <= set(known["reasoning_parser"].choices)
