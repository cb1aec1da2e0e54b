"""One run of `rackserve bench`, from its options to the run as it is kept."""

import asyncio
import datetime as dt
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cluster.errors import ClusterError
from deployments.commands.observe.chat import ChatEndpoint
from deployments.load.client.calibration import PromptScale, prompt_scale
from deployments.load.client.connection import Address, ConnectionPool
from deployments.load.client.endpoint import CHATS, COMPLETIONS, LoadEndpoint
from deployments.load.client.run import LoadProgress, LoadRun, RunSeen, StreamOfSessions
from deployments.load.client.tokenizer import token_counter
from deployments.load.figures.curve import curve
from deployments.load.figures.energy import EnergyMeter, meter_of, taken
from deployments.load.figures.measures import SloLimits, Spread
from deployments.load.figures.run_file import RunFile
from deployments.load.mlperf.loadgen import GivenUpError, LoadGenRun, loadgen_module
from deployments.load.mlperf.samples import QUESTIONS, LoadGenSample, drawn_samples, read_questions
from deployments.load.mlperf.scenarios import LoadGenPlan
from deployments.load.sessions.live_stream import LiveStream, live_streams
from deployments.load.sessions.session_source import recorded_sessions, sessions_of
from deployments.load.sessions.texts import Texts
from deployments.process.garbage_collection import collect_seldom
from deployments.simulator.trace import TraceRequest
from deployments.simulator.trace_file import read_trace
from deployments.twin.arrivals import expected

DEFAULT_LOAD: Final = "rate=1,seconds=60"
_INTERRUPTED: Final = 130
"""Exit code on Ctrl-C, as of any other command."""
_SHOW_S: Final = 0.5
"""Seconds between two looks of the progress bar: each takes a millisecond of the client's time."""

_Seen = TypeVar("_Seen")


@dataclass(frozen=True, slots=True)
class BenchAsked:
    """What a run is asked for.

    Attributes:
        url: the endpoint.
        api_key: the key that it gets; "": none.
        model: the model; "": the first one served.
        load: streams as `key=value,…`.
        trace: a recorded trace, in place of a load.
        speedup: factor by which it is played faster.
        limit: most requests of the trace; 0: all.
        mlperf: LoadGen's scenario; "": LoadGen is not used.
        accuracy: ask questions once each and count right answers.
        questions: a file of them; None: the built-in ones.
        logs: folder for LoadGen's logs; None: they are thrown away.
        completions: ask `/v1/completions` in place of chats.
        ends_early: let answers end by themselves.
        slo: what counts as good.
        warm_up: requests at the beginning that are not in the figures.
        timeout_s: seconds after which a request is given up.
        tokenizer: folder of a tokenizer, for endpoints that do not say their tokens; None: none.
        energy: who measures energy; empty: nobody.
        seed: seed of all chance.
        name: what the run is called; "": its load.
    """

    url: str
    api_key: str = ""
    model: str = ""
    load: Sequence[str] = ()
    trace: Path | None = None
    speedup: float = 1.0
    limit: int = 0
    mlperf: str = ""
    accuracy: bool = False
    questions: Path | None = None
    logs: Path | None = None
    completions: bool = False
    ends_early: bool = False
    slo: SloLimits = SloLimits()  # noqa: RUF009 - frozen
    warm_up: int = 0
    timeout_s: float = 600.0
    tokenizer: Path | None = None
    energy: Sequence[str] = ()
    seed: int = 0
    name: str = ""


def bench_run(asked: BenchAsked, console: Console) -> RunFile:
    """Carry out one run.

    Args:
        asked: the options.
        console: where progress and warnings go.

    Raises:
        SpecError: an option or a file is wrong.
        TraceError: the trace is wrong.
        ClusterError: the endpoint does not answer.
        MissingPackageError: something optional is asked for and not installed.
    """
    trace = read_trace(asked.trace, asked.limit or None) if asked.trace is not None else None
    specs = live_streams(list(asked.load or ([] if trace is not None else [DEFAULT_LOAD])))
    questions = read_questions(asked.questions or QUESTIONS) if asked.accuracy else None
    meter = meter_of(asked.energy)
    if asked.mlperf:
        loadgen_module()
    url, model = _served(asked)
    return uvloop.run(_Bench(asked, console, url, model, meter).run(specs, trace, questions))


def _served(asked: BenchAsked) -> tuple[str, str]:
    """Return the endpoint's URL, where apps connect, and the model to ask."""
    endpoint = ChatEndpoint(asked.url if "://" in asked.url else f"http://{asked.url}", asked.api_key)
    try:
        models = endpoint.models()
        if not asked.model and not models:
            raise ClusterError(f"{endpoint.url} serves no model")
        return endpoint.url, asked.model or models[0]
    finally:
        endpoint.close()


class _Bench:
    """One run, in its event loop."""

    def __init__(self, asked: BenchAsked, console: Console, url: str, model: str, meter: EnergyMeter | None) -> None:
        self._asked, self._console, self._meter = asked, console, meter
        self._url, self._model = url, model
        self._began = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")

    async def run(
        self, specs: list[LiveStream], trace: Sequence[TraceRequest] | None, questions: list[LoadGenSample] | None
    ) -> RunFile:
        """Carry it out."""
        asked = self._asked
        pool = ConnectionPool(Address.of(self._url, asked.api_key))
        endpoint = LoadEndpoint(
            pool,
            self._model,
            path=COMPLETIONS if asked.completions else CHATS,
            timeout_s=asked.timeout_s,
            ends_early=asked.ends_early or questions is not None,
            count_tokens=token_counter(asked.tokenizer) if asked.tokenizer is not None else None,
        )
        try:
            scale = await prompt_scale(endpoint, asked.seed)
            texts = Texts(scale.words_per_token, asked.seed, scale.overhead_tokens)
            collect_seldom()
            before = self._meter.joules() if self._meter is not None else {}
            slo, mlperf = asked.slo, None
            if asked.mlperf:
                samples = questions or drawn_samples(specs[0], asked.seed, texts)
                seen, mlperf, slo = await self._loadgen(endpoint, specs[0], samples)
            else:
                seen = await self._sessions(endpoint, specs, trace, texts)
        finally:
            pool.close()
        run = self._file(specs, seen, slo, scale, mlperf)
        self._warn(run, seen)
        if self._meter is None:
            return run
        return msgspec.structs.replace(run, energy=taken(self._meter, before, run.figures().output_tokens))

    async def _sessions(
        self, endpoint: LoadEndpoint, specs: list[LiveStream], trace: Sequence[TraceRequest] | None, texts: Texts
    ) -> RunSeen:
        asked = self._asked
        if trace is not None:
            streams = [StreamOfSessions(recorded_sessions(trace, asked.speedup, asked.seed, texts))]
            total: float | None = len(trace)
        else:
            streams = [
                StreamOfSessions(
                    sessions_of(spec, number, asked.seed, texts),
                    spec.at_a_time,
                    spec.seconds if spec.at_a_time and not spec.requests else None,
                )
                for number, spec in enumerate(specs)
            ]
            has_end = all(spec.requests or not spec.at_a_time for spec in specs)
            total = expected(specs) if has_end else None
        run = LoadRun(endpoint, streams, asked.warm_up)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, run.stop)
        try:
            return await self._shown(run.carry_out, run.progress, total)
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def _loadgen(
        self, endpoint: LoadEndpoint, spec: LiveStream, samples: list[LoadGenSample]
    ) -> tuple[RunSeen, dict[str, Any], SloLimits]:
        asked = self._asked
        plan = LoadGenPlan.of(asked.mlperf, spec, asked.slo, asked.seed, len(samples), is_accuracy=asked.accuracy)
        loop = asyncio.get_running_loop()
        found = None
        with tempfile.TemporaryDirectory() as thrown_away, suppress(GivenUpError):
            run = LoadGenRun(endpoint, samples, plan, asked.logs or Path(thrown_away))
            loop.add_signal_handler(signal.SIGINT, run.give_up)
            total = len(samples) if asked.accuracy else max(plan.least_requests, plan.rate * plan.least_s)
            found = await self._shown(run.carry_out, run.progress, total)
        if found is None:
            self._console.print("ended; LoadGen has no figures of a part of a run", style="yellow")
            # Its thread calls into Python until the process is gone, and would crash one that ends in order.
            os._exit(_INTERRUPTED)
        loop.remove_signal_handler(signal.SIGINT)
        return found.seen, {"scenario": asked.mlperf, **found.as_dict()}, plan.slo

    async def _shown(
        self,
        carry_out: Callable[[], Awaitable[_Seen]],
        told: LoadProgress,
        total: float | None,
    ) -> _Seen:
        """Carry out a run while a bar shows how far it is."""
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn(),
            console=self._console, transient=True, auto_refresh=False, disable=not self._console.is_terminal,
        ) as progress:  # fmt: skip
            task = progress.add_task(self._model, total=total, told="")
            showing = asyncio.get_running_loop().create_task(_follow(progress, task, told))
            try:
                return await carry_out()
            finally:
                showing.cancel()
                with suppress(asyncio.CancelledError):
                    await showing

    def _file(
        self,
        specs: list[LiveStream],
        seen: RunSeen,
        slo: SloLimits,
        scale: PromptScale,
        mlperf: dict[str, Any] | None,
    ) -> RunFile:
        asked = self._asked
        load: Any = [spec.model_dump(mode="json", exclude_unset=True) for spec in specs]
        if asked.trace is not None:
            load = {"trace": asked.trace.name, "speedup": asked.speedup, "limit": asked.limit}
        name = asked.name or asked.mlperf or (asked.trace.name if asked.trace else "; ".join(asked.load or ["1/s"]))
        return RunFile(
            name=name,
            url=self._url,
            model=self._model,
            began=self._began,
            load=load,
            seed=asked.seed,
            seconds=seen.seconds,
            is_whole=seen.is_whole,
            slo_ttft_s=slo.ttft_s,
            slo_tpot_s=slo.tpot_s,
            prompts=scale.as_dict(),
            client=seen.client.as_dict(),
            mlperf=mlperf,
            gap_s=Spread.of(seen.gaps_s),
            gap_curve_s=curve(seen.gaps_s),
            requests=seen.records,
        )

    def _warn(self, run: RunFile, seen: RunSeen) -> None:
        figures = run.figures()
        ttft_s = figures.ttft_s.p50 if figures.ttft_s is not None else 0.0
        tpot_s = figures.tpot_s.p50 if figures.tpot_s is not None else 0.0
        warnings = seen.client.warnings(ttft_s, tpot_s)
        if figures.counted.get("events"):
            warnings.append(
                f"{figures.counted['events']} answers say no usage: their events are counted as tokens, and an event "
                "may hold several; give --tokenizer"
            )
        if not run.prompts["is_measured"]:
            warnings.append("the endpoint does not say its prompts' tokens: one word is taken for one token")
        for warning in warnings:
            self._console.print(f"note: {warning}", style="yellow", markup=False, highlight=False)


async def _follow(progress: Progress, task: TaskID, told: LoadProgress) -> None:
    """Show how far a run is, until it is cancelled."""
    tokens, at_s = 0, 0.0
    loop = asyncio.get_running_loop()
    while True:
        recent = sorted(told.recent_ttft_s)
        ttft = f", TTFT {recent[len(recent) // 2] * 1e3:,.0f} ms" if recent else ""
        failed = f", {told.failed} failed" if told.failed else ""
        passed_s = loop.time() - at_s if at_s else 0.0
        rate = f", {(told.output_tokens - tokens) / passed_s:,.0f} tokens/s" if passed_s else ""
        tokens, at_s = told.output_tokens, loop.time()
        words = f"{told.ended:,} answered, {told.sent - told.ended:,} under way{rate}{ttft}{failed}"
        progress.update(task, completed=told.ended, told=words, refresh=True)
        await asyncio.sleep(_SHOW_S)
