"""Turns `engine_args` into the command line of `vllm serve`, so that they mean the same as there."""

import difflib
import json
from argparse import Action, BooleanOptionalAction
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cluster.errors import EngineStartError
from cluster.spec.model_parts.parallelism import Parallelism

RESERVED = {
    "model": "the model's `source`",
    "model_tag": "the model's `source`",
    "served_model_name": "the model's `name`",
    "tensor_parallel_size": "`parallel.tensor`",
    "pipeline_parallel_size": "`parallel.pipeline`",
    "data_parallel_size": "`parallel.data`",
    "data_parallel_size_local": "`parallel.data`",
    "data_parallel_rank": "`parallel.data`",
    "data_parallel_start_rank": "`parallel.data`",
    "data_parallel_address": "RackServe",
    "data_parallel_backend": "RackServe",
    "data_parallel_hybrid_lb": "`parallel.data`",
    "data_parallel_external_lb": "`parallel.data`",
    "data_parallel_multi_port_external_lb": "`parallel.data`",
    "enable_expert_parallel": "`parallel.expert`",
    "allowed_media_domains": "`media.domains`",
    "allowed_local_media_path": "RackServe: no prompt reads a file",
    "host": "RackServe",
    "port": "RackServe",
    "uds": "RackServe",
    "api_key": "RackServe: the gateway authenticates",
    "ssl_keyfile": "RackServe",
    "ssl_certfile": "RackServe",
    "ssl_ca_certs": "RackServe",
    "headless": "RackServe",
    "api_server_count": "RackServe",
    "config": "this file",
    "grpc": "RackServe",
    "help": "`vllm serve --help`",
}
"""Arguments that `engine_args` may not set, and what decides each instead."""


def parallel_words(parallel: Parallelism, address: str) -> list[str]:
    """Return a replica's parallelism as command-line arguments.

    Args:
        parallel: how the replica is split over GPUs.
        address: this node's address, as other nodes reach it; "": all ranks are on this machine.
    """
    words = [
        f"--tensor-parallel-size={parallel.tensor}",
        f"--pipeline-parallel-size={parallel.pipeline}",
        f"--data-parallel-size={parallel.data}",
    ]
    if parallel.data > 1 and address:
        words.append(f"--data-parallel-address={address}")  # vLLM's default: this machine itself
    return [*words, "--enable-expert-parallel"] if parallel.experts_whole else words


def argv(engine_args: Mapping[str, Any], actions: Iterable[Action]) -> list[str]:
    """Return `engine_args` as command-line arguments.

    Args:
        engine_args: values by name, with underscores or dashes. Values as YAML gives them: a mapping becomes JSON, true
            and false set a switch or its opposite, null leaves the default.
        actions: every argument of vLLM's parser.

    Raises:
        EngineStartError: vLLM has no argument of a name (the message lists similar ones), or a name is `RESERVED`.
    """
    known = {action.dest: action for action in actions}
    found: list[str] = []
    for key, value in engine_args.items():
        wrong = name_problem(key, known)
        if wrong:
            raise EngineStartError(f"engine_args.{key}: {wrong}")
        if value is not None:
            found += _words(known[key.replace("-", "_")], key, value)
    return found


def name_problem(key: str, known: Collection[str]) -> str:
    """Return what is wrong with an argument's name, with similar names; "" if it may be set.

    Args:
        key: the name, with underscores or dashes.
        known: the names of all of vLLM's arguments, with underscores.
    """
    name = key.replace("-", "_")
    if name in RESERVED:
        return f"not set here; {RESERVED[name]} decides it"
    if name in known:
        return ""
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"vLLM has no such argument{hint}"


def _words(action: Action, key: str, value: object) -> list[str]:
    flag = max(action.option_strings, key=len)
    if isinstance(action, BooleanOptionalAction):
        flag = next(option for option in action.option_strings if not option.startswith("--no-"))
        if not isinstance(value, bool):
            raise EngineStartError(f"engine_args.{key}: true or false, not {value!r}")
        return [flag if value else "--no-" + flag.removeprefix("--")]
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise EngineStartError(f"engine_args.{key}: true or false, not {value!r}")
        return [flag] if value else []
    if isinstance(value, list) and action.nargs in ("+", "*"):
        return [flag, *map(as_word, value)]
    return [f"{flag}={as_word(value)}"]


def as_word(value: object) -> str:
    """Return a YAML value as one word of a command line: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
