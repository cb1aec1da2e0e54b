"""Checks on this machine, before Ray starts, what a cluster file names: models, keys, certificates, packages."""

import importlib.util
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.errors import ModelSourceError, SpecError, SpecProblem
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.speculative import missing_package
from deployments.gateway.admin_key import with_admin_key_read
from deployments.gateway.tenant_keys import with_keys_read
from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.hub import hub_problem_of
from deployments.models.source import resolve
from router.http.wire.server_certificate import ServerCertificate

MAX_AT_ONCE = 16
"""Most models looked for at a time."""


def check_here(spec: ClusterSpec, source: str) -> None:
    """Check what `spec` names, in seconds.

    Args:
        spec: the cluster file.
        source: its name, for errors.

    Raises:
        SpecError: something is not there or cannot be used; lists all of it.
    """
    problems = [*_models(spec), *_keys(spec, source), *_certificate(spec)]
    if problems:
        raise SpecError(source, problems)


def _models(spec: ClusterSpec) -> Iterator[SpecProblem]:
    # Pools may name other revisions and tokens in their arguments and environments.
    places = [position for position, model in enumerate(spec.models) for _ in model.in_pools()]
    drafting = [_draft_of(pool) for pool in spec.in_pools()]
    with ThreadPoolExecutor(MAX_AT_ONCE) as threads:
        found = list(threads.map(_source_problem, spec.in_pools()))
        drafts = list(threads.map(lambda draft: _source_problem(draft) if draft is not None else "", drafting))
    packages = [_missing_package(pool) for pool in spec.in_pools()]
    for key, problems in (("source", found), ("speculative.model", drafts), ("speculative.method", packages)):
        for position, problem in dict.fromkeys(zip(places, problems, strict=True)):
            if problem:
                yield SpecProblem(f"models[{position}].{key}", problem)


def _draft_of(model: ModelSpec) -> ModelSpec | None:
    """Return the model whose drafts a model verifies; None: no other model drafts."""
    source = model.speculative.model
    return model.model_copy(update={"source": source, "engine_args": {}}) if source else None


def _missing_package(model: ModelSpec) -> str:
    """Return which package a model lacks where vLLM is; "": none, or other machines run it."""
    runs_here = model.engine == "vllm" and importlib.util.find_spec("vllm") is not None
    return missing_package(model) if runs_here else ""


def _source_problem(model: ModelSpec) -> str:
    if model.engine != "vllm" or model.source in BUILTIN_MODELS:
        return ""
    try:
        found = resolve(model.source)
    except ModelSourceError as error:
        return str(error)
    return "" if Path(found).is_absolute() else hub_problem_of(model, os.environ)


def _keys(spec: ClusterSpec, source: str) -> Iterator[SpecProblem]:
    for read in (with_keys_read, with_admin_key_read):
        try:
            read(spec.gateway, source)
        except SpecError as error:
            for problem in error.problems:
                yield SpecProblem(f"gateway.{problem.path.removeprefix('gateway.')}", problem.message)


def _certificate(spec: ClusterSpec) -> Iterator[SpecProblem]:
    if spec.gateway.tls is None:
        return
    try:
        ServerCertificate(spec.gateway.tls)
    except OSError as error:
        yield SpecProblem("gateway.tls", (error.strerror or str(error)).removeprefix("gateway.tls: "))
