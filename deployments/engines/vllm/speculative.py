"""Speculative decoding in vLLM's terms: its `speculative_config`, and what a method needs on this machine."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cluster.errors import EngineStartError, ModelSourceError
from cluster.spec.model_parts.speculative_spec import SpeculativeSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.kv.transfer import as_mapping
from deployments.models.hub import hub_problem_of
from deployments.models.source import resolve

ARCTIC: Final = "pip install arctic-inference==0.1.1"
"""Gets the package that drafts from suffixes, in the release that vLLM 0.32 names."""


def speculative_config(speculative: SpeculativeSpec, asked: object) -> object:
    """Return the argument `speculative_config`: the spec's, with everything that the user gives in place of it.

    Args:
        speculative: the model's `speculative`.
        asked: the user's `speculative_config`, as YAML gives it; None: there is none.

    Returns:
        A mapping; where nothing is drafted, and for an argument of a wrong form, which vLLM's parser refuses, `asked`.
    """
    given = as_mapping(asked)
    if not speculative.draft_tokens or given is None:
        return asked
    ours: dict[str, Any] = {"method": speculative.method, "num_speculative_tokens": speculative.draft_tokens}
    if speculative.model:
        ours["model"] = speculative.model
    if speculative.method == "ngram":
        ours["prompt_lookup_min"], ours["prompt_lookup_max"] = speculative.lookup
    return {**ours, **given}


def missing_package(model: ModelSpec) -> str:
    """Return which package a model's method needs that is not installed here, and how to get it; "": none."""
    if model.speculative.method != "suffix" or importlib.util.find_spec("arctic_inference") is not None:
        return ""
    return f"suffix needs the package arctic-inference, which is not installed here: {ARCTIC}"


def with_draft_found(model: ModelSpec, env: Mapping[str, str]) -> ModelSpec:
    """Return a model whose `speculative.model` is what vLLM loads: a folder's path, or an id that the hub has.

    Args:
        model: the model.
        env: the environment variables.

    Raises:
        EngineStartError: its method needs a package that is not installed; the message says how to install it.
        ModelSourceError: there is no such draft model or head; told in seconds.
    """
    speculative = model.speculative
    missing = missing_package(model)
    if missing:
        raise EngineStartError(f"speculative.method: {missing}")
    if not speculative.model:
        return model
    try:
        found = resolve(speculative.model)
    except ModelSourceError as error:
        raise ModelSourceError(f"speculative.model: {error}") from error
    drafting = model.model_copy(update={"source": found, "engine_args": {}})
    problem = "" if Path(found).is_absolute() else hub_problem_of(drafting, env)
    if problem:
        raise ModelSourceError(f"speculative.model {problem}")
    return model.model_copy(update={"speculative": speculative.model_copy(update={"model": found})})


def is_here(model: ModelSpec, source: str) -> bool:
    """Return whether all that vLLM loads is on this machine, so that it need not ask the hub.

    Args:
        model: the model, with its draft model found.
        source: where the model itself is.
    """
    draft = model.speculative.model
    return Path(source).is_dir() and (not draft or Path(draft).is_dir())
