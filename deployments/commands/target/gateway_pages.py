"""Reads operators' pages of gateways, which are named by their URLs or found on a Ray cluster."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx

from cluster.errors import ClusterError, ClusterUnreachableError
from cluster.spec.gateway_spec import GatewaySpec
from deployments.commands.target.target import CommandTarget
from deployments.gateway.operators import ADMIN_KEY, headers_by_key, headers_by_ray
from deployments.process.direct_http import direct_client

if TYPE_CHECKING:
    from deployments.directory.membership import GatewayEndpoint

TIMEOUT_S: Final = 2.0
"""Seconds after which a gateway has not answered."""
USUAL_ADMIN_PORT: Final = int(GatewaySpec.model_fields["admin_port"].default)


@dataclass(frozen=True, slots=True)
class AdminPort:
    """The operators' port of one gateway.

    Attributes:
        url: its URL, without a path.
        headers: what a request must carry to be answered there.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class GatewayPages:
    """A client of gateways' own pages."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._client = direct_client(timeout=timeout_s)

    def get(self, port: AdminPort, path: str) -> httpx.Response:
        """Return the answer to one GET.

        Raises:
            httpx.HTTPError: nothing answers there in time.
        """
        return self._client.get(port.url + path, headers=dict(port.headers))

    def state(self, port: AdminPort) -> dict[str, Any] | None:
        """Return a gateway's `/state`; None: it does not answer, or not with its state."""
        try:
            found = self.get(port, "/state").raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None
        return found if isinstance(found, dict) and "models" in found else None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def admin_ports(target: CommandTarget, pages: GatewayPages) -> list[AdminPort]:
    """Return the admin ports of the gateways that a command asks.

    A URL may be that of the apps' port, if the same gateway's admin port is the usual one or one of the next two.

    Raises:
        ClusterUnreachableError: nothing answers at any of the URLs, or there is no gateway on the Ray cluster.
        ClusterError: what answers is no admin port, or it refuses the key.
    """
    if target.urls:
        return ports_at(target.urls, pages)
    found = list(ports_on_ray(target.address))
    if not found:
        raise ClusterUnreachableError(f"no gateway of RackServe on the Ray cluster at {target.address}")
    return found


def ports_at(urls: Sequence[str], pages: GatewayPages) -> list[AdminPort]:
    """Return the admin ports of the gateways at `urls`; one that does not answer is left out while another does.

    Raises:
        ClusterUnreachableError: nothing answers at any of the URLs.
        ClusterError: what answers is no admin port, or it refuses the key.
    """
    found: list[AdminPort] = []
    silent: list[str] = []
    for url in urls:
        try:
            found.append(_port_at(url, pages))
        except httpx.HTTPError as error:
            silent.append(f"{url}: {str(error) or type(error).__name__}")
    if not found:
        raise ClusterUnreachableError(f"no gateway answers at {'; '.join(silent)}; name its admin port by --url")
    return found


def _port_at(url: str, pages: GatewayPages) -> AdminPort:
    port = AdminPort(url, headers_by_key())
    answer = pages.get(port, "/state")
    if answer.is_success:
        return port
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise ClusterError(f"{url} asks for the operators' key: give it in {ADMIN_KEY}")
    parts = urlsplit(url)
    apps_port = parts.port or (443 if parts.scheme == "https" else 80)
    for number in (USUAL_ADMIN_PORT, apps_port + 1, apps_port + 2):
        guess = AdminPort(with_port(url, number), port.headers)
        state = pages.state(guess)
        if state is not None and state.get("port") == apps_port:
            return guess
    raise ClusterError(
        f"{url} is not a gateway's admin port, for it answers /state with HTTP {answer.status_code}; give the one of "
        "`gateway.admin_port`"
    )


def ports_on_ray(address: str) -> Iterator[AdminPort]:
    """Yield the admin ports of all gateways on a Ray cluster.

    Raises:
        ClusterUnreachableError: there is no Ray cluster at `address`.
    """
    for name, gateway in _gateways_on_ray(address):
        yield AdminPort(gateway.admin_url, headers_by_ray(name))


def apps_url_on_ray(address: str) -> str:
    """Return the URL at which apps connect to the first gateway on a Ray cluster.

    Raises:
        ClusterUnreachableError: there is no Ray cluster at `address`, or no gateway on it.
    """
    with closing(_gateways_on_ray(address)) as gateways:
        for _, gateway in gateways:
            return f"{gateway.scheme}://{in_url(gateway.host)}:{gateway.port}"
    raise ClusterUnreachableError(f"no gateway of RackServe on the Ray cluster at {address}")


def with_port(url: str, port: int) -> str:
    """Return the URL of another port of the machine that a URL names."""
    return f"http://{in_url(urlsplit(url).hostname or '')}:{port}"


def in_url(host: str) -> str:
    """Return a host as it stands in a URL: IPv6 addresses have brackets."""
    return f"[{host}]" if ":" in host else host


def _gateways_on_ray(address: str) -> "Generator[tuple[str, GatewayEndpoint]]":
    """Yield each gateway on a Ray cluster with its application's name; connected until the last one is taken."""
    import deployments.ray_api as ray_api  # noqa: PLC0415 - seconds; a gateway named by its URL needs no Ray
    from deployments.directory.client import actor_name, view_now  # noqa: PLC0415

    ray_api.connect(address)
    try:
        directories = set(ray_api.actor_names())
        for name in ray_api.application_names():
            if actor_name(name) not in directories:
                continue
            try:
                gateways = view_now(name).gateways
            except ClusterError:
                continue
            yield from ((name, gateway) for gateway in gateways)
    finally:
        ray_api.disconnect()
