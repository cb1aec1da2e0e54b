"""This gateway's load on one engine, under all names that the engine serves."""

from collections.abc import Callable

LookAgain = Callable[[float], None]
"""Looks, at the given time, whether an engine has room for one more request."""


class EngineLoad:
    """How much of one engine this gateway's requests use.

    A server of several models (adapters, aliases) is one engine. Each model has its own record of the replica, and all
    these records share one `EngineLoad`.

    Attributes:
        in_flight: requests that this gateway sent there and that have not ended, of all models.
        is_shared: several models have a record.
    """

    __slots__ = ("_sharers", "in_flight", "is_shared")

    def __init__(self) -> None:
        self.in_flight = 0
        self.is_shared = False
        self._sharers: dict[object, LookAgain] = {}

    def join(self, record: object, look_again: LookAgain) -> None:
        """Add a model's record; `look_again` is called when another model took the last place, or gave one back."""
        self._sharers[record] = look_again
        self.is_shared = len(self._sharers) > 1

    def leave(self, record: object) -> None:
        """Remove a model's record."""
        self._sharers.pop(record, None)
        self.is_shared = len(self._sharers) > 1

    def is_full(self, now_s: float) -> None:
        """Let all models see that the engine has no room."""
        for look_again in self._sharers.values():
            look_again(now_s)

    def has_room(self, now_s: float) -> None:
        """Let all models see that the engine has room. Each time another one is the first, so none takes it all."""
        if self._sharers:
            first = next(iter(self._sharers))
            self._sharers[first] = self._sharers.pop(first)
        self.is_full(now_s)
