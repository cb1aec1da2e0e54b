"""Engines: what the names of one server have in common in one gateway."""

from weakref import WeakValueDictionary

from router.estimator.pending_prefill import PendingPrefill
from router.replicas.engine_load import EngineLoad


class SharedEngine:
    """What the records of one server's models share.

    Attributes:
        load: this gateway's requests there.
        pending: the prompt tokens that wait there.
    """

    __slots__ = ("__weakref__", "load", "pending")

    def __init__(self) -> None:
        self.load = EngineLoad()
        self.pending = PendingPrefill()


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
