"""`rackserve top`: shows the cluster live, from its gateways' metrics."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
from rich.console import Console
from rich.live import Live

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, ClusterUnreachableError
from deployments.commands.top.reading import Reading, read
from deployments.commands.top.recent import Recent
from deployments.commands.top.screen import screen
from deployments.directory.client import actor_name, view_now
from deployments.gateway.operators import headers_by_key, headers_by_ray

TIMEOUT_S = 2.0
"""Seconds after which a gateway that has not answered is left out."""
MAX_AT_ONCE = 16
"""Most gateways asked at a time."""


def top(admin_urls: Sequence[str], address: str, *, interval_s: float, once: bool, console: Console) -> None:
    """Show models and replicas until interrupted; a gateway that does not answer is left out.

    Args:
        admin_urls: the gateways' admin addresses; empty: those in the directory of the Ray cluster at `address`.
        address: the Ray cluster's address.
        interval_s: seconds between two looks.
        once: print one screen, of two looks, and end.
        console: where to show it.

    Raises:
        ClusterUnreachableError: no gateway answers at the first look.
    """
    pages = [(url, headers_by_key()) for url in admin_urls] or list(_gateways_of(address))
    urls = [url for url, _ in pages]
    recent = Recent()
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool, httpx.Client(timeout=TIMEOUT_S) as client:

        def look() -> Reading:
            texts = list(pool.map(lambda page: _page(client, *page), pages))
            return read((text for text in texts if text is not None), time.monotonic())

        first = look()
        if not first.gateways:
            raise ClusterUnreachableError(f"no gateway answers at {', '.join(urls)}; name its admin port: --admin URL")
        recent.add(first)
        if once:
            time.sleep(interval_s)
            recent.add(look())
            console.print(screen(recent, now=time.strftime("%H:%M:%S"), height=console.height))
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                shown = screen(recent, now=time.strftime("%H:%M:%S"), height=console.height)
                live.update(shown, refresh=True)
                time.sleep(interval_s)
                recent.add(look())


def _page(client: httpx.Client, url: str, headers: Mapping[str, str]) -> str | None:
    try:
        return client.get(f"{url.rstrip('/')}/metrics", headers=headers).raise_for_status().text
    except httpx.HTTPError:
        return None


def _gateways_of(address: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the admin address of every gateway on a Ray cluster, with the headers that open it."""
    ray_api.connect(address)
    try:
        directories = set(ray_api.actor_names())
        for name in ray_api.application_names():
            if actor_name(name) in directories:
                try:
                    view = view_now(name)
                except ClusterError:
                    continue
                headers = headers_by_ray(name)
                yield from ((gateway.admin_url, headers) for gateway in view.gateways)
    finally:
        ray_api.disconnect()
