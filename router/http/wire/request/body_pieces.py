"""A request's body as it comes in: its pieces, their size and their pace."""

from typing import Final, final

from router.http.wire.request.incoming import BYTE_ORDER_MARK

SMALL_PIECE: Final = 4096
"""Mean size of the pieces, in bytes, below which they are joined while they come: each has an object's overhead, and
a chunk may be one byte. Joining costs at most this for each piece."""
MANY_PIECES: Final = 64
"""Pieces up to which they are left as they are."""


@final
class BodyPieces:
    """What has come of one body.

    Attributes:
        pieces: the pieces, without framing.
        size: their bytes, also of those that were dropped.
    """

    __slots__ = ("_paced", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self._paced = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that are in memory."""
        return self.size if self.pieces else 0

    def begin(self) -> None:
        """Begin the next body."""
        self.pieces = []
        self.size = self._paced = 0

    def drop(self) -> None:
        """Forget the pieces, as nobody will read them."""
        self.pieces = []

    def compact(self) -> None:
        """Bound the overhead of small pieces; called after each read."""
        count = len(self.pieces)
        if count > MANY_PIECES and self.size < count * SMALL_PIECE:
            self.pieces = [b"".join(self.pieces)]

    def take(self) -> bytes:
        """Return the whole body, without a byte order mark, and forget it."""
        pieces, self.pieces = self.pieces, []
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return body.removeprefix(BYTE_ORDER_MARK)

    def has_brought(self, window_bytes: float) -> bool:
        """Tell whether so many bytes have come since this was last true, or since the body began."""
        if self.size - self._paced < window_bytes:
            return False
        self._paced = self.size
        return True
