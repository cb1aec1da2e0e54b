"""Bounds what the bodies that are coming in take of the process' memory, over all connections."""

from typing import Final, Protocol


class BodyHolder(Protocol):
    """A connection whose request's body is coming in."""

    def give_up_body(self) -> None:
        """Refuse the request, as its body is the longest of all and they are too long together; count it as 0."""
        ...


class IncomingBodies:
    """The bodies that are not complete yet, and those that are being decompressed.

    Bodies that come whole with one read are not counted: they are answered, or wait in the room for waiting requests,
    before the next read. Where all together are too long, the longest yields: it is the one that frees most, and short
    requests get through while many long ones come.

    Args:
        most_bytes: bytes that all of them may have.

    Attributes:
        total_bytes: bytes that they have.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes: Final = most_bytes
        self.total_bytes = 0
        self._bytes: dict[BodyHolder, int] = {}

    def count(self, holder: BodyHolder, size_bytes: int) -> None:
        """Count what a connection holds now of a body; 0: nothing any more.

        The longest body is given up, this one or another one, until the rest is within the bound.
        """
        self.total_bytes += size_bytes - self._bytes.pop(holder, 0)
        if size_bytes:
            self._bytes[holder] = size_bytes
        while self.total_bytes > self.most_bytes:
            longest = max(self._bytes, key=self._bytes.__getitem__)
            longest.give_up_body()
            if longest in self._bytes:  # it must not be asked for ever
                self.count(longest, 0)
