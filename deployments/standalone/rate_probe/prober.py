"""Finds the rates of plain servers before users' requests do, by a few requests of its own while a server is idle."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Final

import structlog

from deployments.standalone.rate_probe.idle_signs import is_idle
from deployments.standalone.rate_probe.plan import Probe, ProbePlan
from deployments.standalone.rate_probe.prompts import CHATS, COMPLETIONS, body_of, prompt_of
from router.estimator.learned_rates import rates_through
from router.estimator.model_estimator import PRIOR_BYTES_PER_TOKEN
from router.http.api.answers.usage import counted, last_usage_of_stream
from router.http.data_plane.probe_request import TimedAnswer
from router.http.gateway import Gateway
from router.http.metrics.meters import ProbeResult
from router.replicas.endpoint import Endpoint

SPREAD_S: Final = 0.25
"""Seconds over which the beginnings of probes are spread, so that gateways that start together do not meet."""
SERVERS_AT_ONCE: Final = 8
"""Servers probed at a time: more would disturb the times that are measured."""
RETRY_S: Final = 5.0
"""Seconds after which a server that was busy is tried again at first, about; each time doubles them."""
LONGEST_RETRY_S: Final = 300.0
"""Longest such time, in seconds."""
MOST_FAILURES: Final = 2
"""Broken connections and server errors after which a server is not probed again."""
METRICS_S: Final = 1.0
"""Seconds after which a server's `/metrics` are not waited for."""
MAX_METRICS_BYTES: Final = 4 << 20
"""Size above which an answer of `/metrics` is not read."""
_HAS_TOO_MUCH: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

_log = structlog.get_logger("rackserve.gateway")


@dataclass(frozen=True, slots=True)
class ProbedServer:
    """A server that may be probed.

    Attributes:
        endpoint: where it is; its model is the one to ask.
        most_tokens: longest prompt to send it.
    """

    endpoint: Endpoint
    most_tokens: int


@dataclass(frozen=True, slots=True)
class FoundRates:
    """What probes found of a server.

    Attributes:
        prefill_tokens_per_s: prompt tokens that it prefills a second.
        overhead_s: seconds that each request takes beside, even the shortest.
        decode_tokens_per_s: tokens a second of one answer alone; None: it was not seen.
    """

    prefill_tokens_per_s: float
    overhead_s: float
    decode_tokens_per_s: float | None


@dataclass(slots=True)
class _Search:
    """The search for the rates of one server's process."""

    started_s: float
    plan: ProbePlan
    tries: int = 0
    failures: int = 0
    next_s: float = float("-inf")
    is_over: bool = False
    found: FoundRates | None = None
    decode_tokens_per_s: float | None = None
    paths: list[str] = field(default_factory=lambda: [COMPLETIONS, CHATS])
    task: "asyncio.Task[None] | None" = None


class _NotNowError(Exception):
    """The server has other things to do; it is probed later."""


class _NeverError(Exception):
    """The server answers no probes; the message says why."""


class RateProber:
    """Probes idle servers whose rates nobody knows, each once in the life of its process.

    A probe ends at once when a request for the server comes. What goes wrong with one says nothing of the server's
    health. What is found is learned as if the first requests had shown it.

    Args:
        gateway: sends the probes, and learns.
        rng: makes prompts, and spreads probes over time.
        now_s: returns the time, monotonic seconds.
    """

    def __init__(self, gateway: Gateway, rng: Random, now_s: Callable[[], float]) -> None:
        self._gateway = gateway
        self._rng = rng
        self._now_s = now_s
        self._searches: dict[str, _Search] = {}
        self._turns = asyncio.Semaphore(SERVERS_AT_ONCE)

    def found(self, name: str) -> FoundRates | None:
        """Return what probes found of a server; None: nothing, or not yet."""
        search = self._searches.get(name)
        return search.found if search is not None else None

    def consider(self, server: ProbedServer) -> None:
        """Begin to probe a server, if that is due; call after each poll that it answered."""
        name = server.endpoint.replica_id
        if not self._gateway.wants_rates(name):
            return
        search = self._searches.get(name)
        if search is None or _is_another(search.started_s, server.endpoint.started_s):
            self.forget(name)
            search = self._searches[name] = _Search(server.endpoint.started_s, ProbePlan(server.most_tokens))
        if search.found is not None:  # a name of the server's that came later
            self._gateway.learn_rates(name, search.plan.outcomes)
        elif search.task is None and not search.is_over and self._now_s() >= search.next_s and self._is_idle(name):
            task = search.task = asyncio.get_running_loop().create_task(self._search(server, search))
            task.add_done_callback(_report_defect)

    def forget(self, name: str) -> None:
        """Forget a server that is gone, or whose process is another one."""
        search = self._searches.pop(name, None)
        if search is not None and search.task is not None:
            search.task.cancel()

    async def settle(self, limit_s: float) -> None:
        """Wait until no probe is under way, for at most `limit_s` seconds."""
        tasks = [search.task for search in self._searches.values() if search.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = [search.task for search in self._searches.values() if search.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_idle(self, name: str) -> bool:
        return not self._gateway.requests_at(name)[0]

    async def _search(self, server: ProbedServer, search: _Search) -> None:
        name = server.endpoint.replica_id
        try:
            async with self._turns:
                await asyncio.sleep(self._rng.random() * SPREAD_S)
                await self._check_idle(server.endpoint)
                while (probe := search.plan.next_probe()) is not None:
                    await self._send(server.endpoint, search, probe)
        except _NotNowError:
            search.next_s = self._now_s() + min(LONGEST_RETRY_S, RETRY_S * 2.0**search.tries) * (
                0.5 + self._rng.random()
            )
            search.tries += 1
        except _NeverError as error:
            search.is_over = True
            _log.info("a replica's rates are not probed; requests will tell them", replica=name, why=str(error))
        else:
            search.is_over = True
        finally:
            search.task = None
        self._learn(name, search)

    def _learn(self, name: str, search: _Search) -> None:
        outcomes = search.plan.outcomes
        if not outcomes or not (search.is_over or len(outcomes) > 1):
            return
        self._gateway.learn_rates(name, outcomes)
        rates = rates_through(outcomes)
        search.found = FoundRates(1.0 / rates.s_per_token, rates.overhead_s, search.decode_tokens_per_s)
        _log.info(
            "a replica's rates are found by probes",
            replica=name,
            prefill_tokens_per_s=round(search.found.prefill_tokens_per_s),
            overhead_ms=round(1000.0 * rates.overhead_s, 1),
            decode_tokens_per_s=round(search.decode_tokens_per_s) if search.decode_tokens_per_s else None,
            engine_s=round(search.plan.spent_s, 3),
        )

    async def _check_idle(self, endpoint: Endpoint) -> None:
        """Ask the server whether it has requests, such as another gateway's.

        Raises:
            _NotNowError: it has, or does not say.
        """
        try:
            async with asyncio.timeout(METRICS_S):
                status, body = await self._gateway.get(endpoint, "/metrics", MAX_METRICS_BYTES)
        except (OSError, ValueError, TimeoutError) as error:
            raise _NotNowError from error
        if status != HTTPStatus.OK or not is_idle(body.decode(errors="replace")):
            raise _NotNowError

    async def _send(self, endpoint: Endpoint, search: _Search, probe: Probe) -> None:
        prompt = prompt_of(probe.tokens, self._rng)
        path = search.paths[0]
        body = body_of(path, endpoint.model, prompt, probe.answer_tokens)
        name = endpoint.replica_id
        before = self._gateway.requests_at(name)
        if before[0]:
            raise _NotNowError
        began_s = self._now_s()
        try:
            async with asyncio.timeout(search.plan.left_s):
                answer = await self._gateway.ask_timed(
                    endpoint, path, body, lambda: self._gateway.requests_at(name) == before
                )
        except (OSError, ValueError, TimeoutError) as error:
            search.plan.gave_up(self._now_s() - began_s)
            self._gateway.count_probe(ProbeResult.FAILED)
            self._failed(search, f"{type(error).__name__}: {error}".rstrip(": "))
        else:
            if answer is None:
                search.plan.gave_up(self._now_s() - began_s)
                self._gateway.count_probe(ProbeResult.YIELDED)
                raise _NotNowError
            if answer.status == HTTPStatus.OK and b'"choices"' in answer.body:
                self._gateway.count_probe(ProbeResult.ANSWERED)
                self._answered(search, probe, prompt, answer)
            else:
                search.plan.gave_up(answer.last_s)
                self._gateway.count_probe(ProbeResult.REFUSED)
                self._refused(search, answer)

    @staticmethod
    def _answered(search: _Search, probe: Probe, prompt: str, answer: TimedAnswer) -> None:
        usage = counted(last_usage_of_stream(answer.body))
        tokens = usage.prompt_tokens or len(prompt) / PRIOR_BYTES_PER_TOKEN
        search.plan.answered(probe.tokens, tokens - (usage.cached_tokens or 0), answer.first_s, answer.last_s)
        decoded = (usage.completion_tokens or 0) - 1
        if decoded > 0 and answer.last_s > answer.first_s:
            search.decode_tokens_per_s = decoded / (answer.last_s - answer.first_s)

    @staticmethod
    def _failed(search: _Search, why: str) -> None:
        search.failures += 1
        if search.failures >= MOST_FAILURES or not search.plan.left_s:
            raise _NeverError(why)
        raise _NotNowError

    @staticmethod
    def _refused(search: _Search, answer: TimedAnswer) -> None:
        why = f"{search.paths[0]} answered {answer.status}"
        if answer.status in _HAS_TOO_MUCH:
            raise _NotNowError
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise _NeverError(why)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR and answer.status != HTTPStatus.NOT_IMPLEMENTED:
            RateProber._failed(search, why)
        del search.paths[0]
        if not search.paths:
            raise _NeverError(why)


def _is_another(before_s: float, started_s: float) -> bool:
    """Tell whether a process is another one than before, as far as its time of start says."""
    return bool(before_s and started_s) and before_s != started_s


def _report_defect(task: "asyncio.Task[None]") -> None:
    """Log an error of this code's: it must cost the rates alone."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("probing a replica's rates failed inside the gateway", exc_info=error)
