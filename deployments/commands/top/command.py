"""`rackserve top`: shows the cluster live, from its gateways' metrics."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
from rich.console import Console
from rich.live import Live

from cluster.errors import ClusterUnreachableError
from deployments.commands.target.gateway_pages import AdminPort, GatewayPages, admin_ports
from deployments.commands.target.target import CommandTarget
from deployments.commands.top.reading import Reading, read
from deployments.commands.top.recent import Recent
from deployments.commands.top.screen import screen

MAX_AT_ONCE = 16
"""Most gateways asked at a time."""


def top(target: CommandTarget, *, interval_s: float, once: bool, console: Console) -> None:
    """Show models and replicas until interrupted; a gateway that does not answer is left out.

    Args:
        target: the gateways to ask, or the Ray cluster that knows them.
        interval_s: seconds between two looks.
        once: print one screen, of two looks, and end.
        console: where to show it.

    Raises:
        ClusterUnreachableError: no gateway answers at the first look.
    """
    pages = GatewayPages()
    recent = Recent()
    with closing(pages), ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        ports = admin_ports(target, pages)

        def look() -> Reading:
            texts = list(pool.map(lambda port: _metrics(pages, port), ports))
            return read((text for text in texts if text is not None), time.monotonic())

        first = look()
        if not first.gateways:
            raise ClusterUnreachableError(f"no gateway answers at {', '.join(port.url for port in ports)}")
        recent.add(first)
        if once:
            time.sleep(interval_s)
            recent.add(look())
            console.print(screen(recent, now=time.strftime("%H:%M:%S"), height=console.height, width=console.width))
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                shown = screen(recent, now=time.strftime("%H:%M:%S"), height=console.height, width=console.width)
                live.update(shown, refresh=True)
                time.sleep(interval_s)
                recent.add(look())


def _metrics(pages: GatewayPages, port: AdminPort) -> str | None:
    try:
        return pages.get(port, "/metrics").raise_for_status().text
    except httpx.HTTPError:
        return None
