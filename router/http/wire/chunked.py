"""Finds the end of a chunked body while its bytes pass through unchanged (RFC 9112, section 7.1)."""

import re
from collections.abc import Iterator
from typing import Final

MAX_LINE: Final = 4096
"""Bytes above which a chunk-size line or trailer section is an error; real ones have about a dozen."""
_OF_TWO_DIGITS: Final = {b"%x\r\n" % size: size + 6 for size in range(16, 256)}
_OF_THREE_DIGITS: Final = {b"%x\r\n" % size: size + 7 for size in range(256, 4096)}
"""Bytes from the start of a chunk to that of the next one, by its first line: for the sizes that nearly all events of
streams have. A look-up costs a third of a search for the line's end, and of reading its number."""
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
"""A size with its extension. `int` would also read `+5`, `0x5` and `1_0`, which clients behind read otherwise."""

_BETWEEN: Final = re.compile(rb"\r\n[0-9A-Fa-f]+(?:[ \t]*;[^\r\n]*)?\r\n")
"""What stands between two chunks: the end of the first, and the size of the second with its extension."""


class ChunkedError(Exception):
    """The bytes are no chunked body."""


class ChunkedWalk:
    """Follows the framing of one chunked body and reads only its size lines.

    `feed` costs one search and one number for each chunk; the payload is never looked at.
    """

    __slots__ = ("_line", "_skip", "_trailer")

    def __init__(self) -> None:
        self._skip = 0
        self._line = b""
        self._trailer = False

    @property
    def between_chunks(self) -> bool:
        """Whether the bytes fed up to now end with a whole chunk."""
        return not (self._skip or self._line or self._trailer)

    @property
    def to_come(self) -> int:
        """Number of the last chunk's bytes that have not been fed yet."""
        return max(0, self._skip - 2)

    def feed(self, data: bytes) -> int:
        """Take the next bytes of the body.

        Returns:
            -1 while the body continues, else the offset in `data` at which it ended (`len(data)` if nothing follows).

        Raises:
            ChunkedError: a size line is broken or too long.
        """
        end = len(data)
        position = self._skip
        if self._line or self._trailer:
            return self._feed_broken(data)
        while position < end:
            step = _OF_TWO_DIGITS.get(data[position : position + 4]) or _OF_THREE_DIGITS.get(
                data[position : position + 5]
            )
            if step is not None:
                position += step
                continue
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                self._keep_line(data[position:])
                position = end
                break
            line = data[position:line_end]
            size = size_in(line)
            if not size:
                return self._end_of_chunks(data, line_end + 2)
            position = line_end + 4 + size
        self._skip = position - end
        return -1

    def _end_of_chunks(self, data: bytes, position: int) -> int:
        if data[position : position + 2] == b"\r\n":
            return position + 2
        self._trailer = True
        self._skip = 0
        self._line = b""
        return self._feed_broken(data[position:], offset=position)

    def _feed_broken(self, data: bytes, offset: int = 0) -> int:
        """Continue where a size line or the trailer was cut between two reads."""
        kept = len(self._line)
        joined = self._line + data
        self._line = b""
        if self._trailer:
            if joined[:2] == b"\r\n":
                return offset + 2 - kept
            done = joined.find(b"\r\n\r\n")
            if done < 0:
                self._keep_line(joined)
                return -1
            return offset + done + 4 - kept
        self._skip = 0
        found = self.feed(joined)
        return found if found < 0 else found - kept

    def _keep_line(self, line: bytes) -> None:
        if len(line) > MAX_LINE:
            raise ChunkedError(f"a chunk-size line of over {MAX_LINE} bytes")
        self._line = line


def size_in(line: bytes) -> int:
    """Return the size, in bytes, that a chunk's first line says, before its extension if any (`1a;name=value`).

    Raises:
        ChunkedError: it says none.
    """
    size = _SIZE.fullmatch(line)
    if size is None:
        raise ChunkedError(f"{line[:40]!r} is no chunk size")
    return int(size[1], 16)


def chunk(data: bytes) -> bytes:
    """Return `data`, which must not be empty, framed as one chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked body without a trailer."""


def chunks(framed: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each whole chunk: the offset at which it ends, and its payload. The last chunk, which is empty, is not one.

    Args:
        framed: bytes that start at the start of a chunk.

    Raises:
        ChunkedError: a size line is broken.
    """
    position = 0
    while (line_end := framed.find(b"\r\n", position)) >= 0:
        size = size_in(framed[position:line_end])
        position = line_end + 4 + size
        if not size or position > len(framed):
            return
        yield position, framed[line_end + 2 : position - 2]


def whole_chunks(framed: bytes) -> int:
    """Return how many bytes of `framed` are whole chunks.

    Args:
        framed: bytes that start at the start of a chunk.

    Raises:
        ChunkedError: a size line is broken.
    """
    position = 0
    while (line_end := framed.find(b"\r\n", position)) >= 0:
        end = line_end + 4 + size_in(framed[position:line_end])
        if end > len(framed):
            break
        position = end
    return position


def inside(framed: bytes) -> bytes:
    """Return the inside of chunks, of which a part may be cut out: it may begin and end anywhere.

    Meant for text that has no line with a hexadecimal number alone, such as JSON and events.
    """
    return _BETWEEN.sub(b"", framed)


def payload(framed: bytes) -> bytes:
    """Return the bytes inside chunks, without the framing.

    Args:
        framed: bytes that start at the start of a chunk; of a last chunk that was cut, the bytes that came count.

    Raises:
        ChunkedError: a size line is broken.
    """
    parts = []
    position = 0
    while (line_end := framed.find(b"\r\n", position)) >= 0:
        size = size_in(framed[position:line_end])
        if not size:
            break
        parts.append(framed[line_end + 2 : line_end + 2 + size])
        position = line_end + 4 + size
    return b"".join(parts)
