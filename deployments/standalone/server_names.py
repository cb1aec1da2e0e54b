"""The addresses behind servers' names: a name with several stands for one server at each."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from deployments.standalone.server_address import ServerAddress

RESOLVE_S: Final = 5.0
"""Seconds after which looking a name up has failed; the addresses known stay."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name; raises OSError where there are none."""


class ServerNames:
    """The addresses behind the host names of servers, as of the last look.

    A name with one address, or one of each kind (IPv4, IPv6: the same host), is one server, reached by its name. One
    with several is a server at each address of the kind that has most (IPv4 where both have as many), and stays so, as
    servers must not change their names.

    Args:
        resolve: looks a name up.
    """

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or _resolve
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._first: dict[str, str] = {}
        self._split: set[str] = set()

    async def look_up(self, servers: Iterable[ServerAddress]) -> bool:
        """Look the names of these servers up, and forget all others; return whether addresses have changed."""
        names = sorted({server.host for server in servers if not _is_address(server.host)})
        found = await asyncio.gather(*map(self._look_up, names))
        addresses = {name: several or self._addresses.get(name, ()) for name, several in zip(names, found, strict=True)}
        changed = addresses != self._addresses
        self._addresses = addresses
        self._first = {name: first for name, first in self._first.items() if name in addresses}
        self._split &= addresses.keys()
        for name, several in addresses.items():
            if len(several) > 1:
                self._split.add(name)
            elif several and name not in self._split:
                self._first[name] = several[0]
        return changed

    async def _look_up(self, name: str) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(RESOLVE_S):
                return _one_kind(await self._resolve(name))
        except (OSError, TimeoutError, UnicodeError):
            return ()

    def expand(self, server: ServerAddress) -> list[ServerAddress]:
        """Return the servers that one with a name stands for.

        The server at the address that the name first had alone keeps its name, and so what is known of it.
        """
        if server.host not in self._split:
            return [server]
        first = self._first.get(server.host)
        return [self._at(server, address, is_first=address == first) for address in self._addresses[server.host]]

    @staticmethod
    def _at(server: ServerAddress, address: str, *, is_first: bool) -> ServerAddress:
        host = f"[{address}]" if ":" in address else address
        name = server.name if is_first else f"{host}{server.name.removeprefix(server.host)}"
        return replace(server, given_name=name, host=address)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _one_kind(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of the kind that has most, in order."""
    v4, v6 = ({each for each in addresses if (":" in each) is is_v6} for is_v6 in (False, True))
    return tuple(sorted(v6 if len(v6) > len(v4) else v4))


async def _resolve(name: str) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
