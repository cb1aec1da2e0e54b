"""Engines: what the names of one server have in common in one gateway."""

from collections.abc import Iterator
from typing import Protocol
from weakref import WeakValueDictionary

from router.estimator.pending_prefill import PendingPrefill
from router.replicas.endpoint import Endpoint
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

    def leaves(self, now_s: float) -> None:
        """Give it no more requests, as it says that it ends."""
        ...


class Sharers:
    """The records that hear of one thing."""

    __slots__ = ("__weakref__", "_sharers")

    def __init__(self) -> None:
        self._sharers: dict[object, EngineSharer] = {}

    def join(self, record: object, sharer: EngineSharer) -> None:
        """Let a record hear of it."""
        self._sharers[record] = sharer

    def leave(self, record: object) -> None:
        """Let a record hear no more."""
        self._sharers.pop(record, None)

    def sharers(self) -> Iterator[EngineSharer]:
        """Return all of them."""
        return iter(list(self._sharers.values()))


class SharedEngine(Sharers):
    """What the records of one server's models share.

    Too much to do is the engine's: all of its models hear of it. Connections that break, and an end, are the process's:
    all data-parallel ranks hear of them, too. Errors that it answers may be one model's own, such as an adapter's that
    does not load, and stay with that one.

    Args:
        process: the process that it runs in; None: one with no other engine.

    Attributes:
        load: this gateway's requests there.
        pending: the prompt tokens that wait there.
        process: the records of all engines of the process.
    """

    __slots__ = ("load", "pending", "process")

    def __init__(self, process: Sharers | None = None) -> None:
        super().__init__()
        self.load = EngineLoad()
        self.pending = PendingPrefill()
        self.process = process or Sharers()

    def join(self, record: object, sharer: EngineSharer) -> None:
        """Let a model's record hear of the server, and of its process."""
        super().join(record, sharer)
        self.process.join(record, sharer)

    def leave(self, record: object) -> None:
        """Let a model's record hear no more."""
        super().leave(record)
        self.process.leave(record)


class Engines:
    """The engines of one gateway's replicas, by replica id.

    An engine is kept as long as one of its models is listed, or a request of this gateway is on it. So a model that is
    added, or that comes back, finds what runs there.
    """

    def __init__(self) -> None:
        self._engines: WeakValueDictionary[str, SharedEngine] = WeakValueDictionary()
        self._processes: WeakValueDictionary[str, Sharers] = WeakValueDictionary()

    def of(self, endpoint: Endpoint) -> SharedEngine:
        """Return the engine of a replica, or of its rank; a new one if none of its models is known."""
        engine = self._engines.get(endpoint.replica_id)
        if engine is None:
            process = self._processes.get(endpoint.whole_id) or Sharers()
            self._processes[endpoint.whole_id] = process
            engine = self._engines[endpoint.replica_id] = SharedEngine(process)
        return engine

    def __len__(self) -> int:
        """Return the number of engines that are kept."""
        return len(self._engines)
