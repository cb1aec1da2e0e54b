"""Decodes bodies that came compressed: gzip and deflate (RFC 9110, section 8.4)."""

import zlib
from collections import deque
from typing import Final

ACCEPTED: Final = b"accept-encoding: gzip, deflate\r\n"
"""Header line that tells which codings would be right (RFC 9110, section 15.5.16)."""

_STEP_BYTES: Final = 256 * 1024
"""Decoded bytes of one step: about a millisecond, so that a body that grows a thousandfold holds up nobody."""
_INPUT_BYTES: Final = 64 * 1024
"""Compressed bytes given to zlib at once; it copies what it has not used yet."""
_MOST_MEMBERS: Final = 1024
"""Gzip members above which a body is refused: each costs time, however little it holds. Usual ones hold 64 KiB."""
_GZIP_FORMAT: Final = 31
_ZLIB_FORMAT: Final = 15
_RAW_FORMAT: Final = -15


class ContentCodingError(Exception):
    """The body cannot be decoded; the message is for the client."""


class DecodedTooLongError(ContentCodingError):
    """The decoded body is longer than allowed."""


def understood(value: bytes) -> str:
    """Return the coding that a `content-encoding` header names: "gzip" or "deflate"; "": none.

    Raises:
        ContentCodingError: it is another one, or there are several.
    """
    codings = [coding.strip().lower() for coding in value.split(b",")]
    codings = [coding.removeprefix(b"x-") for coding in codings if coding not in (b"", b"identity")]
    if not codings:
        return ""
    if codings not in ([b"gzip"], [b"deflate"]):
        named = value.decode("latin-1")[:80]
        raise ContentCodingError(f"content-encoding {named!r} is not understood; send gzip, deflate or none")
    return codings[0].decode()


class BodyDecoder:
    """Decodes one body in bounded steps.

    Args:
        body: the compressed body.
        coding: "gzip" or "deflate".
        most_bytes: decoded bytes above which the body is refused.
    """

    def __init__(self, body: bytes, coding: str, most_bytes: int) -> None:
        self._rest: deque[memoryview | bytes] = deque()
        view = memoryview(body)
        self._rest.extend(view[start : start + _INPUT_BYTES] for start in range(0, len(body), _INPUT_BYTES))
        self._format = _GZIP_FORMAT if coding == "gzip" else _deflate_format(body)
        self._zlib = zlib.decompressobj(self._format)
        self._members_left = _MOST_MEMBERS
        self._room = most_bytes
        self._decoded: list[bytes] = []
        self._body_bytes = len(body)
        self._most_bytes = most_bytes

    @property
    def held_bytes(self) -> int:
        """What body and decoded bytes take of the memory, in bytes."""
        return self._body_bytes + self._most_bytes - self._room

    def step(self) -> bytes | None:
        """Decode a little more; return the whole decoded body once it is complete, None before.

        Raises:
            DecodedTooLongError: it is longer than allowed.
            ContentCodingError: it is damaged or cut short.
        """
        if not self._rest:
            return self._end()
        data = self._rest.popleft()
        try:
            piece = self._zlib.decompress(data, min(_STEP_BYTES, self._room + 1))
        except zlib.error as error:
            raise ContentCodingError(f"the compressed body is damaged: {error}") from error
        self._room -= len(piece)
        if self._room < 0:
            raise DecodedTooLongError
        self._decoded.append(piece)
        if self._zlib.unconsumed_tail:
            self._rest.appendleft(self._zlib.unconsumed_tail)
        elif self._zlib.eof:
            self._next_member()
        return None

    def _next_member(self) -> None:
        """Go on with the next gzip member, if there is one; zero bytes between members are padding."""
        rest = self._zlib.unused_data.lstrip(b"\0")
        while not rest and self._rest:
            rest = bytes(self._rest.popleft()).lstrip(b"\0")
        if not rest:
            return
        if self._format != _GZIP_FORMAT:
            raise ContentCodingError("something follows the compressed body")
        self._members_left -= 1
        if not self._members_left:
            raise ContentCodingError(f"the compressed body has over {_MOST_MEMBERS} gzip members")
        self._rest.appendleft(rest)
        self._zlib = zlib.decompressobj(self._format)

    def _end(self) -> bytes:
        if not self._zlib.eof:
            try:
                self._decoded.append(self._zlib.decompress(b"", min(_STEP_BYTES, self._room + 1)))
            except zlib.error as error:
                raise ContentCodingError(f"the compressed body is damaged: {error}") from error
        if not self._zlib.eof:
            raise ContentCodingError("the compressed body is cut short")
        return b"".join(self._decoded)


def decoded(body: bytes, value: bytes, most_bytes: int) -> bytes:
    """Return a body without its coding, decoded in one go: for small ones.

    Args:
        body: the compressed body.
        value: its `content-encoding`.
        most_bytes: decoded bytes above which it is not decoded.

    Raises:
        ContentCodingError: it is too long, or damaged, or in a coding that is not understood.
    """
    coding = understood(value)
    if not coding:
        return body
    decoder = BodyDecoder(body, coding, most_bytes)
    while (whole := decoder.step()) is None:
        pass
    return whole


def _deflate_format(body: bytes) -> int:
    """Return the format of a `deflate` body: zlib's as the RFC says, or the bare one that some clients send."""
    has_header = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and not (body[0] << 8 | body[1]) % 31
    return _ZLIB_FORMAT if has_header else _RAW_FORMAT
