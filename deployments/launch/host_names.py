"""Looks up the host names of a launch, once, on this machine, or on the head where only that knows them."""

import shlex
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from cluster.errors import SpecProblem
from cluster.launch.addresses import hosts_by_key
from cluster.spec.launch_spec import OnPremLaunch
from cluster.spec.parts.host import is_name
from deployments.launch.ssh_hosts import on_head

SAYS: Final = "rackserve-address"
"""First word of the head's lines, which may have a login shell's own lines around them."""


def look_up(launch: OnPremLaunch) -> tuple[Mapping[str, str], Sequence[SpecProblem]]:
    """Return the address of each name among the nodes, and a problem for each name that has none.

    One of the head's kind is taken where a name has addresses of both kinds, IPv4 where the head has both. Only where a
    name is not known here is the head logged in to.
    """
    keys = {key: host for key, host in hosts_by_key(launch).items() if is_name(host)}
    found = {name: addresses_here(name) for name in dict.fromkeys(keys.values())}
    unknown = [name for name, addresses in found.items() if not addresses]
    said = ""
    if unknown:
        said = on_head(launch, f"for name in {shlex.join(unknown)}; do {_ASK}; done").text
        found |= _told_by_head(said, unknown)
    of_head = [launch.head.address] if not is_name(launch.head.address) else found[launch.head.address]
    is_ipv6 = bool(of_head) and all(":" in address for address in of_head)
    chosen = {name: _chosen(addresses, is_ipv6=is_ipv6) for name, addresses in found.items() if addresses}
    return chosen, list(_unknown(keys, chosen, said))


def addresses_here(name: str) -> tuple[str, ...]:
    """Return the addresses that this machine knows of a name, but for loopback and link-local ones."""
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return _usable(str(answer[4][0]) for answer in answers)


_ASK: Final = f'getent ahosts "$name" | while read -r address _; do echo "{SAYS} $name $address"; done'


def _told_by_head(said: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    lines = [line.split() for line in said.splitlines() if line.startswith(f"{SAYS} ")]
    told = [(line[1], line[2]) for line in lines if len(line) == 3]  # noqa: PLR2004 - the words of a whole line
    return {name: _usable(address for of, address in told if of == name) for name in names}


def _usable(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return those that another machine can use, each once."""
    found = dict.fromkeys(address.partition("%")[0] for address in addresses)
    return tuple(
        address for address in found if not (ip_address(address).is_loopback or ip_address(address).is_link_local)
    )


def _chosen(addresses: Sequence[str], *, is_ipv6: bool) -> str:
    return next((address for address in addresses if (":" in address) is is_ipv6), addresses[0])


def _unknown(keys: Mapping[str, str], chosen: Mapping[str, str], said: str) -> Iterator[SpecProblem]:
    last = next(reversed([line for line in said.splitlines() if not line.startswith(SAYS)]), "")
    for key, name in keys.items():
        if name not in chosen:
            asked = f" (asked there: {last.strip()})" if last else ""
            yield SpecProblem(key, f"neither this machine nor the head knows an address of {name!r}{asked}; give it")
