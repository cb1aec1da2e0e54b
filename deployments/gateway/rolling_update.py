"""When a gateway that is to stop may stop listening: an update must leave no node without one.

Serve starts new gateways before it stops old ones, but not necessarily on the same node first. A load balancer that
knows nodes by their port would meet a closed one.
"""

from typing import Final

from deployments.directory.membership import GatewayEndpoint, View

SUCCESSOR_S: Final = 10.0
"""A gateway waits no longer for the one that is to take its place: it may have failed to start."""


def may_leave(leaving: GatewayEndpoint, view: View) -> bool:
    """Tell whether no gateway with other settings listens anywhere (there is no update), or one does on this node."""
    others = [gateway for gateway in view.gateways if gateway.settings != leaving.settings]
    return not others or any(gateway.node_id == leaving.node_id for gateway in others)
