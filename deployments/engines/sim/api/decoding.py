"""Decodes request bodies, as leniently as vLLM does: numbers and booleans may be given as text."""

import re
from typing import Any, Final, TypeVar

import msgspec

from deployments.engines.sim.api.errors import invalid_body

Body = TypeVar("Body")

_AT: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_INDEX: Final = re.compile(r"\[(\d+|\.\.\.)\]")


def decode(body: bytes | msgspec.Raw, kind: type[Body], within: str = "") -> Body:
    """Decode JSON as `kind`.

    Args:
        body: the JSON.
        kind: a type that msgspec knows.
        within: the field of the request that `body` is; "": it is the whole request.

    Raises:
        RequestError: the body is not JSON, or has a wrong field, which `param` names.
    """
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except msgspec.ValidationError as exc:
        raise invalid_body(str(exc), _path(exc, within)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise invalid_body(f"JSON decode error: {exc}", within) from exc


def convert(value: Any, kind: type[Body], within: str) -> Body:  # noqa: ANN401 - any JSON
    """Read a decoded part of a request, the field `within`, as `kind`.

    Raises:
        RequestError: it has a wrong field, which `param` names.
    """
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise invalid_body(str(exc), _path(exc, within)) from exc


def _path(exc: msgspec.ValidationError, within: str) -> str:
    where = _AT.search(str(exc))
    missing = re.search(r"missing required field `(\w+)`", str(exc))
    steps = [within, where.group(1) if where else "", missing.group(1) if missing else ""]
    return _INDEX.sub(r".\1", ".".join(step for step in steps if step)).replace("..", ".")
