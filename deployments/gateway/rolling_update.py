"""Decides when a stopping gateway may stop listening: an update must leave no node without a gateway.

Serve starts new gateways before it stops old ones, but perhaps on other nodes first. A load balancer that sends to a
port on every node would then meet a closed port.
"""

from typing import Final

from deployments.directory.membership import GatewayEndpoint, View

SUCCESSOR_S: Final = 10.0
"""Longest wait, in seconds, of a stopping gateway for its successor, which may have failed to start."""


def may_leave(leaving: GatewayEndpoint, view: View) -> bool:
    """Return whether a stopping gateway may stop listening.

    It may if no gateway with other settings listens anywhere (there is no update), or if one listens on the same node.

    Args:
        leaving: the stopping gateway.
        view: the directory's members.
    """
    others = [gateway for gateway in view.gateways if gateway.settings != leaving.settings]
    return not others or any(gateway.node_id == leaving.node_id for gateway in others)
