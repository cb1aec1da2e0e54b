"""Takes the framing off a chunked body as it passes, for clients that speak HTTP/1.0 and know no chunks."""

from collections.abc import Callable

from router.http.wire.chunked import MAX_LINE, ChunkedError, size_in

_CRLF_BYTES = 2


class Unchunk:
    """Passes on what is inside the chunks of one body, as it comes.

    Args:
        write: takes the bytes.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._line = b""
        self._data_bytes = 0  # of the current chunk, still to come
        self._crlf_bytes = 0  # after them, still to come
        self._is_over = False

    def write(self, framed: bytes) -> None:
        """Take the next bytes of the body, framed; what follows the last chunk is dropped.

        Raises:
            ChunkedError: a size line is broken or too long.
        """
        parts = []
        position = 0
        while position < len(framed) and not self._is_over:
            if self._data_bytes:
                parts.append(framed[position : position + self._data_bytes])
                self._data_bytes -= len(parts[-1])
                position += len(parts[-1])
            elif self._crlf_bytes:
                self._crlf_bytes -= 1
                position += 1
            else:
                position = self._read_size(framed, position)
        data = b"".join(parts)
        if data:
            self._write(data)

    def _read_size(self, framed: bytes, position: int) -> int:
        """Read a size line, or the part of it that has come; return where it ends."""
        end = framed.find(b"\n", position) + 1 or len(framed)
        self._line += framed[position:end]
        if len(self._line) > MAX_LINE:
            raise ChunkedError(f"a chunk-size line of over {MAX_LINE} bytes")
        if self._line[-1:] == b"\n":
            self._data_bytes = size_in(self._line.rstrip(b"\r\n"))
            self._crlf_bytes = _CRLF_BYTES
            self._is_over = not self._data_bytes
            self._line = b""
        return end
