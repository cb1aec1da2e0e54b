"""Reads a request's target: a path in one spelling, however it was written, and the query (RFC 9112, section 3.2)."""

import re
from typing import Final, final
from urllib.parse import unquote_to_bytes

USUAL: Final = frozenset(
    {
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/embeddings",
        b"/v1/messages",
        b"/v1/models",
        b"/v1/responses",
        b"/health",
        b"/ready",
        b"/metrics",
    }
)
"""Targets that are in normal form already; most requests have one of them, and it is not read any further."""
ANY: Final = b"*"
"""The target of `OPTIONS *`, which asks about the server as a whole."""

_ORIGIN: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_MODEL_NAMES: Final = re.compile(rb"/+v1/+models/")
"""What stands before a model's name, in which slashes count: `/models/Qwen3` is a name."""
MAX_PATH: Final = 4096
"""Bytes of a path above which it is refused: reading one takes some passes over it. The longest model's name fits."""
MAX_QUERY: Final = 8192
"""Bytes of a query above which it is refused: each of its fields costs about a microsecond where it is read."""
_DOTS: Final = re.compile(rb"(?:^|[/\\]|\xc0\xaf)[ \t]*(?:\.|\xc0\xae){2}[ \t]*(?:[/\\;]|\xc0\xaf|$)")
"""A segment `..`, alone or with what some servers take off before they look at it: parameters (`..;a=b`), spaces. A
backslash is a slash to some, and an overlong form of UTF-8 the character that it would be."""
_CONTROL: Final = re.compile(rb"[\0-\x1f\x7f]")
_FURTHER_DECODINGS: Final = 3
"""How many more times a path is decoded when it is searched for `..`, in case a server behind decodes it again."""
_NOT_KEPT: Final = re.compile(rb"[^!-$&-~]")
"""What stays percent-encoded: `%` itself, and all that is not visible ASCII."""


class TargetError(Exception):
    """The target cannot be served; the message is for the client."""


@final
class RequestTarget:
    """A request's target.

    Attributes:
        path: the path in normal form: percent-encoded only where it must be, so `/` and `%2F` are the same, as they
            are to engines (ASGI apps decode the path before they look at it). It is ASCII.
        query: the query as sent, or b"".
        url: path and query, as sent on to a replica.
    """

    __slots__ = ("path", "query", "url")

    def __init__(
        self,
        path: bytes,
        query: bytes,
        url: bytes,
    ) -> None:
        self.path = path
        self.query = query
        self.url = url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestTarget) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def _fields(self) -> tuple[bytes, bytes, bytes]:
        return self.path, self.query, self.url


def read_target(sent: bytes) -> RequestTarget:
    """Read a target.

    Doubled slashes and one slash at the end are mistakes in joining a base URL with a path, so they are dropped.

    Raises:
        TargetError: it is no path and no absolute URL, or it is too long, or its path climbs with `..`.
    """
    if sent == ANY:
        return RequestTarget(ANY, b"", ANY)
    origin = _ORIGIN.match(sent)
    if origin is not None:
        sent = sent[origin.end() :]
        sent = sent if sent[:1] == b"/" else b"/" + sent
    if sent[:1] != b"/" or not sent.isascii():
        raise TargetError("the request target must be a path: /v1/…")
    if b"#" in sent:
        raise TargetError("the request target must not contain `#`")
    path, mark, query = sent.partition(b"?")
    if len(path) > MAX_PATH:
        raise TargetError(f"the path has over {MAX_PATH} bytes")
    if len(query) > MAX_QUERY:
        raise TargetError(f"the query has over {MAX_QUERY} bytes")
    path = _normal(_without_empty_segments(path))
    url = path.replace(b"?", b"%3F").replace(b"#", b"%23")
    return RequestTarget(path, query, url + mark + query)


def _without_empty_segments(path: bytes) -> bytes:
    name = _MODEL_NAMES.match(path)
    kept_from = name.end() if name is not None else len(path)
    path = re.sub(rb"//+", b"/", path[:kept_from]) + path[kept_from:]
    return path[:-1] if path[-1:] == b"/" and len(path) > 1 else path


def _normal(path: bytes) -> bytes:
    """Return a path that is decoded once, with what must stay encoded encoded again.

    Raises:
        TargetError: it has a segment `..`, even one that is encoded several times or has parameters (`..;`), or a
            control character.
    """
    decoded = plain = unquote_to_bytes(path)
    for _ in range(_FURTHER_DECODINGS):
        plain = unquote_to_bytes(plain)
    if _DOTS.search(plain):
        raise TargetError("the path must not contain `..`")
    if _CONTROL.search(plain):
        raise TargetError("the path must not contain control characters")
    return _NOT_KEPT.sub(lambda match: b"%%%02X" % match[0][0], decoded)
