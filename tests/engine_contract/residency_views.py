"""What a replica claims its engine's cache to hold, as views of `engine_server.py`."""

from dataclasses import asdict
from typing import Any

from deployments.engines.interface import AsgiApp, Engine
from deployments.kv_residency.place import Place
from deployments.kv_residency.replica_residency import ReplicaResidency
from deployments.kv_residency.request_bodies import RequestBodies
from deployments.kv_residency.self_test import AffinitySelfTest
from router.prompt.chunk_chain import ChunkHasher


class ResidencyViews:
    """A replica's residency around an engine that has started: that of each of its data-parallel ranks.

    Attributes:
        app: the engine's app, watched.
    """

    def __init__(self, engine: Engine, model: str) -> None:
        self._model = model
        self._hasher = ChunkHasher(7)
        self._of_ranks = []
        for rank in range(engine.ranks):
            events = engine.kv_events(rank)
            assert events is not None
            self._block_tokens = events.block_tokens
            capacity = engine.stats(rank).kv_capacity_tokens
            self._of_ranks.append(ReplicaResidency(events, self._hasher, model, capacity))
        self.app: AsgiApp = RequestBodies(engine.app)

    def claims(self, path: str, body: str, rank: int = 0) -> dict[str, int]:
        """Return how much of a request's prompt is claimed to be cached on a rank, in tokens and in bytes of it.

        `below` is the tokens that are only in tiers below the device, of those that it begins with.
        """
        chain = self._hasher.of_body(path, body.encode(), model=self._model)
        residency = self._of_ranks[rank]
        tokens = residency.resident_tokens(chain)
        below = residency.resident_tokens(chain, Place.LOWER) - tokens
        resident = set(residency.log.snapshot().resident.tolist())
        told = next((place for place, chunk in enumerate(chain.hashes) if chunk not in resident), len(chain))
        residency.check_integrity()
        return {"tokens": tokens, "below": below, "told_bytes": chain.prefix_bytes(told), "bytes": chain.size_bytes}

    async def self_test(self) -> dict[str, Any]:
        """Return what the affinity self-test proves."""
        test = AffinitySelfTest(self.app, self._model, self._hasher, self._of_ranks[0], block_tokens=self._block_tokens)
        return asdict(await test.run())
