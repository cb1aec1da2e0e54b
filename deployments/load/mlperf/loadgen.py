"""A run that LoadGen drives: it says when which sample is asked, and judges what comes back.

LoadGen's threads say what to ask; the event loop asks and tells it of first tokens and ends. Both measure: its summary
and the run's own records are of the same requests.
"""

import asyncio
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cluster.errors import MissingPackageError
from deployments.load.client.client_watch import ClientWatch
from deployments.load.client.endpoint import LoadEndpoint
from deployments.load.client.run import LoadProgress, RunSeen
from deployments.load.mlperf.samples import LoadGenSample, right_share
from deployments.load.mlperf.scenarios import LoadGenPlan

if TYPE_CHECKING:
    from deployments.load.client.record import RequestRecord

_NS: Final = 1e9
_SUMMARY: Final = "mlperf_log_summary.txt"
_ACCURACY: Final = "mlperf_log_accuracy.json"


@dataclass(frozen=True, slots=True)
class LoadGenSeen:
    """What came of a run.

    Attributes:
        seen: the run's own records.
        summary: LoadGen's summary, by its own words.
        right: share of right answers; None: it was no accuracy run.
    """

    seen: RunSeen
    summary: dict[str, str]
    right: float | None = None

    @property
    def is_valid(self) -> bool:
        """Whether LoadGen calls the result valid, and every answer is whole: LoadGen knows no failures."""
        return self.summary.get("Result is") == "VALID" and all(record.is_answered for record in self.seen.records)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, without the records."""
        return {"is_valid": self.is_valid, "right": self.right, "summary": self.summary}


class GivenUpError(Exception):
    """A run was given up. LoadGen knows no end but its own: its thread still runs, and only the process ends it."""


class _Logged(msgspec.Struct):
    qsl_idx: int
    data: str


class LoadGenRun:
    """One run.

    Args:
        endpoint: where it goes.
        samples: the prompts.
        plan: what LoadGen is told.
        logs: folder for LoadGen's own logs.

    Attributes:
        progress: how far it is.

    Raises:
        MissingPackageError: LoadGen is not installed.
    """

    def __init__(self, endpoint: LoadEndpoint, samples: Sequence[LoadGenSample], plan: LoadGenPlan, logs: Path) -> None:
        self.progress = LoadProgress()
        self._loadgen = loadgen_module()
        self._endpoint = endpoint
        self._samples = samples
        self._plan = plan
        self._logs = logs
        self._records: list[RequestRecord] = []
        self._sessions = 0
        self._began_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(plan.open_at_once)
        self._ended: asyncio.Future[None] | None = None

    async def carry_out(self) -> LoadGenSeen:
        """Have LoadGen run its test, and return what came of it.

        Raises:
            GivenUpError: `give_up` was called.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        watch = ClientWatch()
        watch.start()
        self._began_s = time.perf_counter()
        await self._tested()
        client = watch.stop()
        end_s = max((record.last_s for record in self._records), default=0.0)
        first_s = min((record.sent_s for record in self._records), default=0.0)
        seen = RunSeen(tuple(self._records), tuple(self._endpoint.gaps_s), end_s - first_s, client)
        summary = read_summary(self._logs / _SUMMARY)
        return LoadGenSeen(seen, summary, self._scored() if self._plan.is_accuracy else None)

    def give_up(self) -> None:
        """Have `carry_out` raise `GivenUpError`."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(GivenUpError)

    async def _tested(self) -> None:
        """Run LoadGen's test in a thread of its own: the loop's pool would wait for it at the process's end."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        threading.Thread(target=self._test, args=(loop,), daemon=True, name="loadgen").start()
        await self._ended

    def _test(self, loop: asyncio.AbstractEventLoop) -> None:
        loadgen = self._loadgen

        def issue(asked: Sequence[Any]) -> None:
            loop.call_soon_threadsafe(self._ask_all, [(each.id, each.index) for each in asked], time.perf_counter())

        def ignored(*_: object) -> None:
            """Prompts are in memory, and what is under way is never held back."""

        count = len(self._samples)
        sut = loadgen.ConstructSUT(issue, ignored)
        qsl = loadgen.ConstructQSL(count, count, ignored, ignored)
        error: Exception | None = None
        try:
            loadgen.StartTestWithLogSettings(sut, qsl, self._settings(), self._log_settings())
        except Exception as caught:  # noqa: BLE001 - it is raised where the run is awaited
            error = caught
        loadgen.DestroyQSL(qsl)
        loadgen.DestroySUT(sut)
        loop.call_soon_threadsafe(self._test_ended, error)

    def _test_ended(self, error: Exception | None) -> None:
        if self._ended is None or self._ended.done():
            return
        if error is not None:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    def _settings(self) -> Any:  # noqa: ANN401 - LoadGen has no types
        plan, loadgen = self._plan, self._loadgen
        settings = loadgen.TestSettings()
        settings.scenario = getattr(loadgen.TestScenario, plan.scenario.kind)
        settings.mode = loadgen.TestMode.AccuracyOnly if plan.is_accuracy else loadgen.TestMode.PerformanceOnly
        settings.use_token_latencies = True
        settings.min_query_count = plan.least_requests
        settings.min_duration_ms = round(plan.least_s * 1e3)
        settings.server_target_qps = plan.rate
        settings.offline_expected_qps = plan.rate
        if plan.slo.ttft_s is not None:
            settings.ttft_latency = round(plan.slo.ttft_s * _NS)
        if plan.slo.tpot_s is not None:
            settings.tpot_latency = round(plan.slo.tpot_s * _NS)
        for place, name in enumerate(("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")):
            setattr(settings, name, plan.seed * 3 + place)
        return settings

    def _log_settings(self) -> Any:  # noqa: ANN401 - as above
        output = self._loadgen.LogOutputSettings()
        output.outdir = str(self._logs)
        output.copy_summary_to_stdout = False
        settings = self._loadgen.LogSettings()
        settings.log_output = output
        settings.enable_trace = False
        return settings

    def _ask_all(self, asked: Sequence[tuple[int, int]], due_s: float) -> None:
        self.progress.sent += len(asked)
        for query, index in asked:
            task = asyncio.get_running_loop().create_task(self._ask(query, self._samples[index], due_s))
            self._tasks.add(task)
            task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = task.exception() if not task.cancelled() else None
        if error is not None and self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)  # LoadGen would wait for this answer for ever

    async def _ask(self, query: int, sample: LoadGenSample, due_s: float) -> None:
        loadgen = self._loadgen
        number, self._sessions = self._sessions, self._sessions + 1
        is_first_told = False

        def first_token() -> None:
            nonlocal is_first_told
            is_first_told = True
            loadgen.FirstTokenComplete([loadgen.QuerySampleResponse(query, 0, 0)])

        body = self._endpoint.body([{"role": "user", "content": sample.prompt}], sample.output_tokens)
        async with self._places:
            answer, _, problem = await self._endpoint.ask(body, first_token)
        record = self._endpoint.record(
            answer,
            session=number,
            stream=0,
            began_s=self._began_s,
            due_s=due_s,
            sent_s=due_s,  # MLPerf counts from the moment that LoadGen asks, whatever the client does until it sends
            problem=problem,
        )
        self._records.append(record)
        self.progress.note(record)
        if not is_first_told:  # LoadGen waits for each, and knows no failures
            first_token()
        text = array("B", answer.text.encode() or b" ")
        place, length = text.buffer_info()
        # With one token there is no time between two; LoadGen divides by their number less one.
        tokens = max(2, record.output_tokens)
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query, place, length, tokens)])

    def _scored(self) -> float:
        logged = msgspec.json.decode((self._logs / _ACCURACY).read_bytes(), type=list[_Logged])
        answers = {each.qsl_idx: bytes.fromhex(each.data).decode(errors="replace") for each in logged}
        return right_share(self._samples, answers)


def loadgen_module() -> Any:  # noqa: ANN401 - LoadGen has no types
    """Return LoadGen.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import mlperf_loadgen  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingPackageError("--mlperf needs LoadGen: pip install 'rackserve[bench]'") from error
    return mlperf_loadgen


def read_summary(path: Path) -> dict[str, str]:
    """Return what a summary of LoadGen's says, by its own words; in an accuracy run it says nothing."""
    found: dict[str, str] = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        name, colon, value = line.partition(":")
        if colon and value.strip():
            found.setdefault(name.strip().lstrip("* "), value.strip())
    return found
