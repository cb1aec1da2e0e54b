"""The last labels of metrics, which only some rows have: `pool` of models with pools, `rank` of replicas with ranks."""

from typing import Final

from router.replicas.endpoint import Endpoint

POOL: Final = "pool"
"""The pool's label: after all that every row has, so that a row without a pool just lacks its value."""
RANK: Final = "rank"
"""The data-parallel rank's label: the last of a metric of replicas, whose label `replica` is the whole replica's id."""


def pool_label(pool: str) -> list[str]:
    """Return the value of a row's label `pool`; none, and with it no label, for a pool without a name."""
    return [pool] if pool else []


def last_labels(endpoint: Endpoint) -> list[str]:
    """Return the values of a replica's labels `pool` and `rank`; those that it lacks at the end are left out."""
    return pool_label(endpoint.pool) if endpoint.rank is None else [endpoint.pool, str(endpoint.rank)]
