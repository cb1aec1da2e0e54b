"""Addresses of machines that a `launch:` section names: Ray's files and commands take addresses alone.

Ray 2.60 looks a name up anew on each machine, where it may mean the machine itself (127.0.1.1 on Debian), and a node
that joins with another address than the autoscaler knows is started again and again. So names are looked up once.
"""

from collections.abc import Iterator, Mapping

from cluster.errors import SpecProblem
from cluster.spec.launch_spec import OnPremLaunch
from cluster.spec.parts.host import is_name


def hosts_by_key(launch: OnPremLaunch) -> dict[str, str]:
    """Return the nodes as the file has them, head and workers, by their keys such as `launch.workers[0].hosts[1]`."""
    workers = {
        f"launch.workers[{position}].hosts[{number}]": host
        for position, group in enumerate(launch.workers)
        for number, host in enumerate(group.hosts)
    }
    return {"launch.head.address": launch.head.address, **workers}


def with_addresses(launch: OnPremLaunch, addresses: Mapping[str, str]) -> OnPremLaunch:
    """Return the section with addresses in place of names; a name that `addresses` lacks stays."""
    head = launch.head.model_copy(update={"address": addresses.get(launch.head.address, launch.head.address)})
    workers = tuple(
        group.model_copy(update={"hosts": tuple(addresses.get(host, host) for host in group.hosts)})
        for group in launch.workers
    )
    return launch.model_copy(update={"head": head, "workers": workers})


def is_ipv6(launch: OnPremLaunch) -> bool:
    """Return whether the nodes, or the way to the head, have IPv6 addresses."""
    return ":" in launch.head.address or ":" in (launch.head.external_address or "")


def address_problems(launch: OnPremLaunch, gateway_host: str) -> Iterator[SpecProblem]:
    """Yield what keeps these addresses from being one cluster.

    Args:
        launch: the section, with addresses in place of names.
        gateway_host: the file's `gateway.host`.
    """
    head = launch.head.address
    if is_name(head):
        return
    kind = _kind(head)
    for key, host in hosts_by_key(launch).items():
        if not is_name(host) and _kind(host) != kind:
            message = f"{host} is {_kind(host)} and launch.head.address {head} is {kind}; Ray's nodes need one kind"
            yield SpecProblem(key, message)
    if ":" in head and gateway_host == "0.0.0.0":  # noqa: S104 - compared, not listened on
        message = f"0.0.0.0 takes IPv4 alone and launch.head.address {head} is IPv6; give '::'"
        yield SpecProblem("gateway.host", message)


def _kind(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"
