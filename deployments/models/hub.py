"""Tells in seconds why a model cannot be had from the Hugging Face hub; an engine would try for minutes.

Follows the hub's own rules: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, and the proxies of
the environment (https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables).
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from cluster.spec.model_spec import ModelSpec

ANSWER_S: Final = 4.0
"""Seconds within which the hub answers."""
_TRUE = {"1", "ON", "YES", "TRUE"}
"""What counts as true in the hub's variables."""


def hub_problem_of(model: ModelSpec, env: Mapping[str, str]) -> str:
    """Return why the Hugging Face id that a model has as its source cannot be had; "" if it can.

    Args:
        model: the model.
        env: the environment variables of the process that will load it; the model's own come before them.
    """
    arguments = {key.replace("-", "_"): str(value) for key, value in model.engine_args.items() if value is not None}
    env = {**env, **model.env}
    revision, folder = arguments.get("revision", ""), arguments.get("download_dir", "")
    return hub_problem(model.source, env, revision=revision, folder=folder)


def hub_problem(source: str, env: Mapping[str, str], *, revision: str = "", folder: str = "") -> str:
    """Return why a model cannot be had, what was tried and what would be right; "" if it can.

    A model in the cache can be had. So can one about which the hub does not give a clear answer.

    Args:
        source: the model's id, `owner/name` or `name`.
        env: the environment variables of the process that will load it.
        revision: branch, tag or commit; "": `main`.
        folder: the cache that is looked into first (vLLM's `download_dir`); "": none.
    """
    if env.get("VLLM_USE_MODELSCOPE", "").upper() in _TRUE:
        return ""  # another hub
    caches = list(_caches(env, folder))
    if any(any(cache.glob(f"models--{source.replace('/', '--')}/snapshots/*/*")) for cache in caches):
        return ""
    elsewhere = f"give a folder or a built-in name as source, or put the model into {caches[0]} beforehand"
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if env.get(variable, "").upper() in _TRUE:
            return f"{source!r} is not in {caches[0]}, and {variable} forbids to download it; {elsewhere}"
    endpoint = (env.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    token = _token(env)
    try:
        answer = httpx.head(
            f"{endpoint}/{source}/resolve/{revision or 'main'}/config.json",
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=ANSWER_S,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = f"no answer within {ANSWER_S:g} s" if isinstance(error, httpx.TimeoutException) else str(error)
        return f"{source!r}: {endpoint} cannot be reached: {reason}; {elsewhere}"
    return _meaning(answer, source, endpoint, revision, has_token=bool(token))


def _meaning(answer: httpx.Response, source: str, endpoint: str, revision: str, *, has_token: bool) -> str:
    code, status = answer.headers.get("x-error-code", ""), answer.status_code
    shown = "the token in HF_TOKEN does not open it" if has_token else "give a token in HF_TOKEN"
    if code == "EntryNotFound":
        return ""  # the repository is there, with other files
    if code == "RevisionNotFound":
        return f"{source!r} has no revision {revision!r} at {endpoint}"
    if code == "GatedRepo" or status == HTTPStatus.FORBIDDEN:
        return f"{source!r} is gated: accept its terms at {endpoint}/{source}, and {shown}"
    if code == "RepoNotFound" or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND}:
        return f"there is no model {source!r} at {endpoint}; if it is a private one: {shown}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"{source!r}: {endpoint} answers with HTTP {status}"
    return ""


def _caches(env: Mapping[str, str], folder: str) -> Iterator[Path]:
    if folder:
        yield Path(folder).expanduser()
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    yield Path(env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub").expanduser()


def _token(env: Mapping[str, str]) -> str:
    given = env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN")
    if given:
        return given.strip()
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    try:
        return Path(env.get("HF_TOKEN_PATH") or f"{home}/token").expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
