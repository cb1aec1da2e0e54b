"""Data-parallel ranks of replicas: to a gateway each one is a replica, with its own load, cache and learned rates.

A replica with data-parallel ranks has several engines behind one port. Each has its own batch and its own prefix cache,
so the scheduler picks among ranks as it picks among replicas, and the header `RANK_HEADER` says which rank was picked.
What is about the process is the replica's: its row in the directory, its lease, whether it can be reached, its end.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from router.replicas.endpoint import Endpoint

RANK_HEADER: Final = "x-data-parallel-rank"
"""The request header that names the rank; vLLM's own."""


def rank_id(replica_id: str, rank: int | None) -> str:
    """Return the id of a replica's rank; the replica's own for None."""
    return replica_id if rank is None else f"{replica_id}.{rank}"


def divided(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Return a row for each rank of the replicas that have several, and the other rows as they are."""
    return tuple(
        endpoint if rank is None else _row_of(endpoint, rank)
        for endpoint in endpoints
        for rank in (range(endpoint.ranks) if endpoint.ranks > 1 else (None,))
    )


def _row_of(endpoint: Endpoint, rank: int) -> Endpoint:
    promise = endpoint.promise.of_rank(endpoint.ranks) if endpoint.promise is not None else None
    return replace(endpoint, replica_id=rank_id(endpoint.replica_id, rank), rank=rank, promise=promise)
