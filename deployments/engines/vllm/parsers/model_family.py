"""Chooses vLLM's parsers of tool calls and of reasoning by a model's family. Pure.

A model's type alone does not say how it writes: Llama's is that of hundreds of fine-tunes, and Qwen3 comes with
reasoning and without. So a family also has what its chat template must have, which is what the model was trained to
write. A model without such a template gets no parser: a wrong one would hide its answers, or refuse tools at the start.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ParserRule:
    """One family's parser.

    Attributes:
        parser: its name in vLLM 0.32.
        types: the config's `model_type`, as a regular expression for all of it.
        template: what the chat template has, as a regular expression; "": it is not looked at.
        name: what the model's source has, as a regular expression without regard to case; "": it is not looked at.
    """

    parser: str
    types: str
    template: str = ""
    name: str = ""

    def fits(self, model_type: str, template: str, name: str) -> bool:
        """Tell whether a model is of this family."""
        return (
            re.fullmatch(self.types, model_type) is not None
            and re.search(self.template, template) is not None
            and re.search(self.name, name, re.IGNORECASE) is not None
        )


_QWEN3: Final = r"qwen3(_moe|_next|_vl|_vl_moe|_5|_5_moe)?"
_THINKS: Final = r"enable_thinking|assistant\\n<think>"
"""Templates that let a chat choose reasoning, or begin each answer with it. Those of models that never reason only cut
`</think>` from earlier turns."""
_JSON_CALLS: Final = r'<tool_call>[\s\S]*"?arguments"?'

TOOL_PARSERS: Final = (
    ParserRule("openai", "gpt_oss"),
    ParserRule("glm45", "glm4_moe|glm4v_moe", r"<tool_call>"),
    ParserRule("kimi_k2", "kimi_k2", r"<\|tool_calls_section_begin\|>"),
    ParserRule("minimax_m2", "minimax_m2|minimax", r"minimax:tool_call"),
    ParserRule("seed_oss", "seed_oss", r"seed:tool_call"),
    ParserRule("gemma4", "gemma4.*", r"tool_call"),
    ParserRule("qwen3_coder", _QWEN3, r"<function="),
    ParserRule("hermes", rf"{_QWEN3}|qwen2(_moe|_vl|_5_vl)?|llama|mistral", _JSON_CALLS),
    ParserRule("llama3_json", "llama|mllama", r'"name": function name, "parameters"'),
    ParserRule("mistral", "mistral|mixtral|mistral3", r"\[TOOL_CALLS\]"),
    ParserRule("granite", "granite|granitemoe", r"tool_call"),
)
"""The first that fits counts. Source: vLLM's documentation, "Tool calling", and `vllm/tool_parsers` of 0.32.

DeepSeek-V3 and Llama 4 are not here: vLLM needs a chat template of its own examples for their tools, so `chat_template`
and `tool_call_parser` must be given together."""
REASONING_PARSERS: Final = (
    ParserRule("openai_gptoss", "gpt_oss"),
    ParserRule("deepseek_r1", "deepseek_v3|qwen2|qwen3|llama", r"<think>|</think>", r"deepseek-?r1|qwq"),
    ParserRule("deepseek_v3", "deepseek_v3", r"thinking"),
    ParserRule("glm45", "glm4_moe|glm4v_moe", r"<think>"),
    ParserRule("kimi_k2", "kimi_k2", r"<think>", r"thinking"),
    ParserRule("minimax_m2_append_think", "minimax_m2|minimax", r"<think>"),
    ParserRule("seed_oss", "seed_oss", r"seed:think"),
    ParserRule("ernie45", "ernie4_5_moe|ernie4_5_vl_moe", r"<think>"),
    ParserRule("hunyuan_a13b", "hunyuan_v1_moe", r"<think>"),
    ParserRule("gemma4", "gemma4.*", r"enable_thinking"),
    ParserRule("qwen3", _QWEN3, _THINKS),
    ParserRule("granite", "granite|granitemoe", r"thinking", r"granite-?3\.[23]"),
)
"""The first that fits counts. Source: vLLM's documentation, "Reasoning outputs", and `vllm/reasoning` of 0.32."""


def parser_for(rules: tuple[ParserRule, ...], config: Mapping[str, Any], template: str, name: str) -> str:
    """Return the name of the parser for a model; "": no family is known to fit.

    Args:
        rules: `TOOL_PARSERS` or `REASONING_PARSERS`.
        config: the model's `config.json`.
        template: its chat template; "": it has none.
        name: its source: a Hugging Face id or a folder.
    """
    model_type = str(config.get("model_type", ""))
    fitting = (rule.parser for rule in rules if rule.fits(model_type, template, name))
    return next(fitting, "")
