"""Gangs as Ray placement groups: one bundle of one GPU per rank, in rank order, each pinned to its node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ray.exceptions import RayError
from ray.util import placement_group, placement_group_table, remove_placement_group

from cluster.errors import ClusterError
from deployments.ray_api.errors import first_line, ray_errors

_PREFIX: Final = "rackserve-gang "
_GONE: Final = {"REMOVED"}


@dataclass(frozen=True, slots=True)
class StandingGang:
    """A gang's placement group, as read from Ray.

    Attributes:
        about: the value its maker gave to `GangBundles`.
        nodes: the node id of each bundle, in order; "": Ray has no node for it yet, or lost it.
    """

    about: Mapping[str, Any]
    nodes: tuple[str, ...]


class GangBundles:
    """A gang's placement group, made by this process; it ends with the process, or by `remove`.

    Args:
        about: a JSON-like description, which `standing_gangs` returns.
        nodes: the node id of each rank.
        topology: Ray's strategy for each label that constrains the nodes; {}: no constraint.

    Attributes:
        nodes: the node id of each rank.
        handle: Ray's placement group, for an engine.
    """

    def __init__(self, about: Mapping[str, Any], nodes: Sequence[str], topology: Mapping[str, str]) -> None:
        self.nodes = tuple(nodes)
        with ray_errors("making a placement group"):
            self.handle: Any = placement_group(
                [{"GPU": 1.0} for _ in nodes],
                name=_PREFIX + json.dumps(about, sort_keys=True),
                bundle_label_selector=[{"ray.io/node-id": node} for node in nodes],
                topology_strategy=dict(topology) or None,
            )

    def wait(self, timeout_s: float) -> bool:
        """Wait until every rank has its GPU; return False after `timeout_s` seconds."""
        with ray_errors("waiting for a placement group"):
            return bool(self.handle.wait(timeout_s))

    def why_broken(self) -> str:
        """Return why a gang that existed is broken; "": it is not, or Ray does not answer."""
        try:
            state = placement_group_table(self.handle).get("state", "")
        except (RayError, RuntimeError, ConnectionError):
            return ""  # without Ray's head nothing is known, and the gang goes on
        return "" if state in {"CREATED", ""} else f"its placement group is {state.lower()}: a node is gone"

    def remove(self) -> None:
        """Give all GPUs back; Ray ends what still runs on them."""
        with ray_errors("removing a placement group"):
            remove_placement_group(self.handle)


def standing_gangs() -> list[StandingGang]:
    """Return the placement groups of all gangs of the cluster.

    Raises:
        ClusterError: Ray does not answer.
    """
    try:
        table = placement_group_table()
    except (RayError, RuntimeError, ConnectionError) as error:
        raise ClusterError(f"asking for placement groups: {first_line(error)}") from error
    gangs = []
    for row in table.values():
        if row["name"].startswith(_PREFIX) and row["state"] not in _GONE:
            nodes = row["bundles_to_node_id"]
            about = json.loads(row["name"].removeprefix(_PREFIX))
            gangs.append(StandingGang(about, tuple(nodes.get(rank) or "" for rank in range(len(nodes)))))
    return gangs
