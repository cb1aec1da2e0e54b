"""Reads a model's arguments as `vllm serve` would, with vLLM's own parser and checks."""

# ruff: noqa: PLC0415 - vLLM is imported once its environment is set

from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cluster.errors import EngineStartError
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.args import argv
from deployments.engines.vllm.parsers.chosen_parsers import parser_arguments


def parsed(model: ModelSpec, source: str, arguments: Mapping[str, Any], words: Sequence[str]) -> Namespace:
    """Return the arguments as vLLM reads them.

    Args:
        model: what to serve.
        source: what vLLM loads: a folder's path, or a Hugging Face id.
        arguments: the engine's arguments, with underscores in names; they come before those of the model's family.
        words: what is not the user's to say, as a command line.

    Raises:
        EngineStartError: vLLM refuses an argument.
    """
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.launchers.launcher import validate_api_server_args
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.transformers_utils.repo_utils import get_hf_file_bytes

    from deployments.engines.vllm.plugin import EngineArgParser

    parser = make_arg_parser(EngineArgParser())
    actions = parser._actions  # noqa: SLF001 - argparse has no public list of its arguments
    revision = str(model.engine_args.get("revision") or "main")
    family = parser_arguments(model, partial(get_hf_file_bytes, model=source, revision=revision))
    args: Namespace = parser.parse_args([*argv(family | dict(arguments), actions), *words])
    if args.tool_parser_plugin:
        ToolParserManager.import_tool_parser(args.tool_parser_plugin)
    if args.reasoning_parser_plugin:
        ReasoningParserManager.import_reasoning_parser(args.reasoning_parser_plugin)
    try:
        validate_parsed_serve_args(args)
        validate_api_server_args(args)
    except (TypeError, ValueError, KeyError) as exc:
        raise EngineStartError(f"engine_args: {exc.args[0] if exc.args else exc}") from exc
    return args
