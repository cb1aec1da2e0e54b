"""Gangs as Ray's placement groups: one GPU a bundle, in rank order, each pinned to its node."""

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
    """A gang's placement group.

    Attributes:
        about: what its maker said of it.
        nodes: the node id of each bundle, in order; "" where Ray has not found one yet, or lost it.
    """

    about: Mapping[str, Any]
    nodes: tuple[str, ...]


class GangBundles:
    """A gang's placement group, made by this process: it ends with it, and with `remove`.

    Args:
        about: JSON-like; `standing_gangs` gives it back.
        nodes: the node id of each rank.
        topology: labels whose values all nodes must share, with Ray's strategy for each; {}: they may differ.

    Attributes:
        handle: Ray's own, for an engine.
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
        """Wait until every rank has its GPU; False: not within `timeout_s`."""
        with ray_errors("waiting for a placement group"):
            return bool(self.handle.wait(timeout_s))

    def why_broken(self) -> str:
        """Return what is wrong with a gang that stood; "" where nothing is, or Ray does not answer."""
        try:
            state = placement_group_table(self.handle).get("state", "")
        except (RayError, RuntimeError, ConnectionError):
            return ""  # without a head nothing is known, and the gang goes on
        return "" if state in {"CREATED", ""} else f"its placement group is {state.lower()}: a node is gone"

    def remove(self) -> None:
        """Give all GPUs back; what still runs on them is ended by Ray."""
        with ray_errors("removing a placement group"):
            remove_placement_group(self.handle)


def standing_gangs() -> list[StandingGang]:
    """Return every gang's placement group on the cluster."""
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
