"""Machines that exist, as Ray's autoscaler and `ray up` know them, with IPv6 addresses.

Ray 2.60 itself runs on IPv6, but its launcher asks for a machine's IPv4 address (`gethostbyname`) and gives rsync
addresses without brackets. Files of `rackserve up` with IPv6 addresses name `Ipv6Machines` as their provider.
"""

from types import ModuleType
from typing import Any

from ray.autoscaler._private.command_runner import SSHCommandRunner
from ray.autoscaler._private.local.node_provider import LocalNodeProvider

# mypy: disable-error-code="no-untyped-call, misc"


class Ipv6Machines(LocalNodeProvider):
    """Ray's provider of machines that exist, each named by its address."""

    def internal_ip(self, node_id: str) -> str:
        """Return the address of a node, at which other nodes reach it."""
        return node_id

    def external_ip(self, node_id: str) -> str:
        """Return the address of a node, at which the machine that launches reaches it."""
        return str(self.state.get()[node_id].get("external_ip") or node_id)

    def get_command_runner(  # noqa: PLR0913, PLR0917 - Ray's signature
        self,
        log_prefix: str,
        node_id: str,
        auth_config: dict[str, Any],
        cluster_name: str,
        process_runner: ModuleType,
        use_internal_ip: bool,  # noqa: FBT001
        docker_config: dict[str, Any] | None = None,  # noqa: ARG002 - files of `rackserve up` have none
    ) -> SSHCommandRunner:
        """Return what runs commands on a node and copies files to it."""
        return _Ipv6Runner(
            log_prefix, node_id, self, auth_config, cluster_name, process_runner, use_internal_ip=use_internal_ip
        )


class _Ipv6Runner(SSHCommandRunner):
    """Logs in to `USER@ADDRESS` and copies to `USER@[ADDRESS]:PATH`, as ssh and rsync want it."""

    _copies = False

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        self._copies = True
        try:
            super().run_rsync_up(source, target, options)
        finally:
            self._copies = False

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        self._copies = True
        try:
            super().run_rsync_down(source, target, options)
        finally:
            self._copies = False

    def _get_ssh_target(self) -> str:
        target = str(super()._get_ssh_target())
        return f"[{target}]" if self._copies and ":" in target else target
