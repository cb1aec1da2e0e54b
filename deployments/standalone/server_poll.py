"""Polls one plain server for its models, over the same connections as requests."""

import asyncio
import errno
from collections.abc import Callable
from typing import Final

import structlog

from deployments.standalone.server import Server
from deployments.standalone.server_address import ServerAddress
from deployments.standalone.server_metrics import kv_tokens_of, started_s_of
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint, Presence
from router.replicas.model_card import Announced, announced_in

STEADY_S: Final = 2.0
"""Seconds between two polls of a server that is well. So a model that it loads or unloads is noticed."""
HURRY_S: Final = 0.5
"""Seconds between two polls of a server that is not well."""
POLLS_PER_S: Final = 32.0
"""Most polls of all servers per second, each of which costs 0.2 to 0.5 ms. More servers are polled less often."""
QUIET_POLLS_PER_S: Final = 2.0
"""The same while nobody asks this gateway anything: an idle gateway costs next to nothing."""
PATIENCE_S: Final = 2.0
"""Seconds after which a poll has failed, of a server that is quick."""
MOST_PATIENCE_S: Final = 10.0
"""Seconds after which a poll has failed, of a server that is slow: twice the time of its last poll, up to this."""
MAX_LIST_BYTES: Final = 1 << 20
"""Size above which an answer of `/v1/models` is not read."""
MAX_METRICS_BYTES: Final = 4 << 20
"""Size above which an answer of `/metrics` is not read."""
OK: Final = 200

_log = structlog.get_logger("rackserve.gateway")


class ServerPoll:
    """Polls one server.

    Args:
        server: what is known of it; polls write to it.
        gateway: asks it.
        now_s: returns the time, monotonic seconds.
        patience_s: seconds after which a poll of a server that is quick has failed.

    Attributes:
        server: what is known of the server.
        endpoints: its rows for the data plane, as of the last poll.
    """

    def __init__(
        self, server: Server, gateway: Gateway, now_s: Callable[[], float], patience_s: float = PATIENCE_S
    ) -> None:
        self.server = server
        self._gateway = gateway
        self._now_s = now_s
        self._least_patience_s = patience_s
        self._patience_s = patience_s
        self._signs = 0
        self._last: tuple[bytes, Announced] = (b"", Announced({}))
        self.endpoints: list[Endpoint] = []
        self._endpoint = server.address.endpoint()

    def moved_to(self, address: ServerAddress) -> None:
        """Ask the same server at another address, or with another key, from now on."""
        self.server.address = address
        self._endpoint = address.endpoint()

    def pause_s(self, servers: int) -> float:
        """Return the seconds until the next poll, where so many `servers` are polled."""
        return max(STEADY_S if self._is_well else HURRY_S, servers / POLLS_PER_S)

    def quiet_pause_s(self, servers: int) -> float:
        """Return the same for a gateway that nobody asks anything: a server that is well may wait for longer."""
        pause_s = self.pause_s(servers)
        return max(pause_s, servers / QUIET_POLLS_PER_S) if self._is_well else pause_s

    @property
    def _is_well(self) -> bool:
        return self.server.presence is Presence.HERE and not self.server.misses

    async def poll(self) -> bool:
        """Ask for the server's models once; raises nothing, whatever the server does.

        Returns:
            Whether something has changed: its models, or whether it is alive.
        """
        has_answered = self.server.has_answered
        await self._ask()
        endpoints = self.server.endpoints(self._now_s())
        changed = endpoints != self.endpoints or self.server.has_answered != has_answered
        self.endpoints = endpoints
        return changed

    async def _ask(self) -> None:
        server = self.server
        began_s, signs = self._now_s(), self._signs
        reason, is_refused = "", False
        try:
            async with asyncio.timeout(self._patience_s):
                status, body = await self._gateway.get(self._endpoint, "/v1/models", MAX_LIST_BYTES)
            if status == OK:
                announced, started_s = self._announced(body), server.started_s
                if server.may_have_restarted:
                    await self._identify()
                self._answered(announced)
                if server.started_s == started_s:
                    self._gateway.heard_of(server.address.name)
                return
            reason = f"/v1/models answered {status}"
        except TimeoutError:
            reason = f"no answer within {self._patience_s:g} s"
        except (OSError, ValueError) as error:
            reason, is_refused = f"{type(error).__name__}: {error}", _is_refusal(error)
        finally:
            self._signs = self._gateway.signs_of_life(self._endpoint)
            took_s = self._now_s() - began_s
            self._patience_s = max(self._least_patience_s, min(2.0 * took_s, MOST_PATIENCE_S))
        if self._signs != signs and not is_refused:
            server.lives(self._now_s())
            return
        self._missed(reason, is_refused=is_refused)

    def _announced(self, body: bytes) -> Announced:
        if self._last[0] != body:
            self._last = body, announced_in(body)
        return self._last[1]

    def _answered(self, announced: Announced) -> None:
        server = self.server
        if server.presence is not Presence.HERE or not server.has_answered:
            _log.info(
                "a replica answers",
                replica=server.address.name,
                models=list(announced.models)[:20],
                kv_tokens=server.kv_tokens or None,
            )
        if announced.refused and announced.refused != server.refused:
            _log.warning(
                "models cannot be routed: their names are too long or have control characters",
                replica=server.address.name,
                models=announced.refused,
            )
        server.refused = announced.refused
        known = server.models
        # A card that says the same is kept, so that `created` stays what it was at first.
        server.models = {
            name: known[name] if known.get(name) == card else card for name, card in announced.models.items()
        }
        server.has_answered = True
        server.lives(self._now_s())

    def _missed(self, reason: str, *, is_refused: bool) -> None:
        server, before = self.server, self.server.presence
        is_first = not server.misses and not server.has_answered
        server.missed(self._now_s(), is_refused=is_refused)
        if server.presence is not before or is_first:
            _log.warning(
                "a replica does not answer", replica=server.address.name, reason=reason, presence=str(server.presence)
            )

    async def _identify(self) -> None:
        """Read from the server's metrics which process it is and what its cache holds. It may have no metrics."""
        server = self.server
        try:
            async with asyncio.timeout(self._least_patience_s):
                status, body = await self._gateway.get(self._endpoint, "/metrics", MAX_METRICS_BYTES)
                if status in (301, 302, 307, 308):
                    status, body = await self._gateway.get(self._endpoint, "/metrics/", MAX_METRICS_BYTES)
        except (OSError, ValueError, TimeoutError):
            return
        server.may_have_restarted = False
        if status == OK:
            metrics = body.decode(errors="replace")
            server.kv_tokens = kv_tokens_of(metrics)
            server.started_s = started_s_of(metrics)


def _is_refusal(error: Exception) -> bool:
    """Tell whether nothing listens at the port, at any of the host's addresses."""
    if isinstance(error, ExceptionGroup):
        return all(_is_refusal(each) for each in error.exceptions)
    if isinstance(error, OSError) and error.errno is None:
        return "Multiple exceptions" in str(error) and "Connection refused" in str(error)
    return isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
