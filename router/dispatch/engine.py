"""Engines: what the names of one server have in common in one gateway."""

from collections.abc import Iterator
from typing import Protocol
from weakref import WeakValueDictionary

from router.estimator.pending_prefill import PendingPrefill
from router.replicas.engine_load import EngineLoad


class EngineSharer(Protocol):
    """A model's record of a server, which hears what another model learned of that server."""

    def is_busy(self, until_s: float, now_s: float) -> None:
        """Give it no more requests until a time, as it says that it has too much to do."""
        ...

    def broke_off(self, now_s: float) -> None:
        """Leave it out for a while, as its connection broke."""
        ...

    def is_reached(self, now_s: float) -> None:
        """Let it have requests again, if it was left out because its connection broke: it answers."""
        ...


class SharedEngine:
    """What the records of one server's models share.

    Too much to do, and connections that break, are the server's: all of its models hear of them. Errors that it answers
    may be one model's own, such as an adapter's that does not load, and stay with that one.

    Attributes:
        load: this gateway's requests there.
        pending: the prompt tokens that wait there.
    """

    __slots__ = ("__weakref__", "_sharers", "load", "pending")

    def __init__(self) -> None:
        self.load = EngineLoad()
        self.pending = PendingPrefill()
        self._sharers: dict[object, EngineSharer] = {}

    def join(self, record: object, sharer: EngineSharer) -> None:
        """Let a model's record hear of the server."""
        self._sharers[record] = sharer

    def leave(self, record: object) -> None:
        """Let a model's record hear no more."""
        self._sharers.pop(record, None)

    def sharers(self) -> Iterator[EngineSharer]:
        """Return the records of all models."""
        return iter(list(self._sharers.values()))


class Engines:
    """The engines of one gateway's replicas, by replica id.

    An engine is kept as long as one of its models is listed, or a request of this gateway is on it. So a model that is
    added, or that comes back, finds what runs there.
    """

    def __init__(self) -> None:
        self._engines: WeakValueDictionary[str, SharedEngine] = WeakValueDictionary()

    def __getitem__(self, replica_id: str) -> SharedEngine:
        """Return the engine of a replica; a new one if none of its models is known."""
        engine = self._engines.get(replica_id)
        if engine is None:
            engine = self._engines[replica_id] = SharedEngine()
        return engine

    def __len__(self) -> int:
        """Return the number of engines that are kept."""
        return len(self._engines)
