"""Watches a request's chunked body for a chunk that is announced longer than the body may be."""

from router.http.wire.chunked import ChunkedError, ChunkedWalk

_HEAD_END = b"\r\n\r\n"


class ChunkSizes:
    """Follows one chunked body beside the parser, which tells of a chunk's bytes only once they come.

    It only serves to refuse early. A body that it cannot follow is left to the parser, which alone decides where the
    body ends and counts its bytes.

    Args:
        head_tail: the last bytes, up to three, of the part of the head that came in earlier reads.
    """

    def __init__(self, head_tail: bytes) -> None:
        self._head_tail = head_tail
        self._walk: ChunkedWalk | None = ChunkedWalk()
        self._in_head = True

    def to_come(self, data: bytes) -> int:
        """Take the next read; return how many bytes of its last chunk are still to come.

        Args:
            data: the read. The first one begins with the request, or with the rest of its head, and holds the head's
                end.
        """
        walk = self._walk
        if walk is None:
            return 0
        if self._in_head:
            self._in_head = False
            data = self._head_tail + data if self._head_tail else data.lstrip(b"\r\n")
            data = data[data.find(_HEAD_END) + len(_HEAD_END) :]
        try:
            if walk.feed(data) < 0:
                return walk.to_come
        except ChunkedError:
            pass
        self._walk = None
        return 0
