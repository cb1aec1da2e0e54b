"""The arguments for tools and reasoning: what the cluster file says, and else what fits the model's family."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.parsers.model_family import REASONING_PARSERS, TOOL_PARSERS, ParserRule, parser_for

ReadFile = Callable[[str], bytes | None]
"""Returns a file of the model by its name; None: the model has no such file."""

_log = structlog.get_logger("rackserve.replica")
_KINDS: Final[tuple[tuple[str, tuple[ParserRule, ...], dict[str, Any]], ...]] = (
    ("tool_call_parser", TOOL_PARSERS, {"enable_auto_tool_choice": True}),
    ("reasoning_parser", REASONING_PARSERS, {}),
)


def parser_arguments(model: ModelSpec, read: ReadFile) -> dict[str, Any]:
    """Return vLLM's arguments for tool calls, reasoning and the chat template.

    What `engine_args` give is left to them, and a model that does not generate has none.

    Args:
        model: the model.
        read: reads its files.
    """
    task = model.served_task
    if task is not None and task.pools:
        return {}
    given = {key.replace("-", "_") for key in model.engine_args}
    found: dict[str, Any] = {}
    if model.chat_template:
        found["chat_template"] = model.chat_template
    family: tuple[Mapping[str, Any], str] | None = None
    for key, rules, more in _KINDS:
        asked = getattr(model, key)
        if key in given or asked == "none":
            continue
        if asked == "auto":
            family = family or (_decoded(read("config.json")), _given(model.chat_template) or _template(read))
            asked = parser_for(rules, *family, model.source)
            if not asked:
                continue
            _log.info("parser chosen by the model's family", model=model.name, argument=key, parser=asked)
        found |= {key: asked, **more}
    return found


def _given(template: str) -> str:
    """Return the cluster file's chat template, of which vLLM, too, takes the text or a file's path."""
    is_text = any(character in template for character in "{}\n")
    return template if is_text or not Path(template).is_file() else Path(template).read_text(encoding="utf-8")


def _template(read: ReadFile) -> str:
    """Return a model's chat template: a file of its own, or a field of the tokenizer's configuration."""
    own = read("chat_template.jinja")
    if own is not None:
        return own.decode("utf-8", "replace")
    told = _decoded(read("tokenizer_config.json")).get("chat_template")
    if isinstance(told, list):  # several, by name
        return "\n".join(str(each.get("template", "")) for each in told if isinstance(each, dict))
    return told if isinstance(told, str) else ""


def _decoded(data: bytes | None) -> Mapping[str, Any]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
