"""Sends sessions to an endpoint: at their times, or as many at once as a load says."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from deployments.load.client.client_watch import ClientLoad, ClientWatch
from deployments.load.client.endpoint import LoadEndpoint, Message
from deployments.load.client.record import RequestRecord
from deployments.load.sessions.session import Session


@dataclass(frozen=True, slots=True)
class StreamOfSessions:
    """The sessions of one stream, and how they are sent.

    Attributes:
        sessions: in the order in which they begin.
        at_a_time: how many are under way at once; 0: each begins at its time.
        until_s: seconds from the start after which none begins; None: all do.
    """

    sessions: Iterable[Session]
    at_a_time: int = 0
    until_s: float | None = None


@dataclass(slots=True)
class LoadProgress:
    """How far a run is.

    Attributes:
        sent: requests sent.
        ended: of those, how many have ended.
        failed: of those, how many have no whole answer.
        output_tokens: tokens of the answers that have ended.
        recent_ttft_s: seconds to the first token of the latest answers.
    """

    sent: int = 0
    ended: int = 0
    failed: int = 0
    output_tokens: int = 0
    recent_ttft_s: list[float] = field(default_factory=list)

    def note(self, record: RequestRecord) -> None:
        """Note that a request has ended."""
        self.ended += 1
        self.output_tokens += record.output_tokens
        if record.is_answered:
            self.recent_ttft_s.append(record.ttft_s)
            del self.recent_ttft_s[:-100]
        else:
            self.failed += 1


@dataclass(frozen=True, slots=True)
class RunSeen:
    """What came of a run.

    Attributes:
        records: of each request, in the order in which they ended.
        gaps_s: seconds between two events with tokens.
        seconds: from the first request to the end of the last.
        client: what the client did to itself.
        is_whole: it was not ended early.
    """

    records: tuple[RequestRecord, ...]
    gaps_s: tuple[float, ...]
    seconds: float
    client: ClientLoad
    is_whole: bool = True


class LoadRun:
    """One run of a load.

    Args:
        endpoint: where it goes.
        streams: what is sent.
        warm_up: requests at the beginning that are not in the figures.

    Attributes:
        progress: how far it is.
    """

    def __init__(self, endpoint: LoadEndpoint, streams: Iterable[StreamOfSessions], warm_up: int = 0) -> None:
        self.progress = LoadProgress()
        self._endpoint = endpoint
        self._streams = list(streams)
        self._warm_up = warm_up
        self._records: list[RequestRecord] = []
        self._sessions = 0
        self._began_s = 0.0
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_stopped = False
        self._defect: BaseException | None = None

    async def carry_out(self) -> RunSeen:
        """Send everything, and return what came of it."""
        watch = ClientWatch()
        watch.start()
        self._began_s = time.perf_counter()
        for stream in self._streams:
            if stream.at_a_time:
                waiting = iter(stream.sessions)
                for _ in range(stream.at_a_time):
                    self._start(self._place(waiting, stream.until_s))
            else:
                self._start(self._at_times(stream))
        while self._tasks:
            await asyncio.wait(self._tasks)
        client = watch.stop()
        if self._defect is not None:
            raise self._defect
        end_s = max((record.last_s for record in self._records), default=0.0)
        first_s = min((record.sent_s for record in self._records if not record.is_warm_up), default=0.0)
        return RunSeen(
            tuple(self._records), tuple(self._endpoint.gaps_s), end_s - first_s, client, not self._is_stopped
        )

    def stop(self) -> None:
        """End it early: what runs is given up and counts for nothing."""
        self._is_stopped = True
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._defect is None:
            self._defect = error
            self.stop()

    async def _at_times(self, stream: StreamOfSessions) -> None:
        """Begin each session at its time; those under way go on by themselves."""
        for session in stream.sessions:
            due_s = self._began_s + session.begins_s
            wait_s = due_s - time.perf_counter()
            await asyncio.sleep(max(0.0, wait_s))
            self._start(self._converse(session, due_s, self._next_number()))

    async def _place(self, waiting: Iterator[Session], until_s: float | None) -> None:
        while until_s is None or time.perf_counter() - self._began_s < until_s:
            session = next(waiting, None)
            if session is None:
                return
            await self._converse(session, time.perf_counter(), self._next_number())

    def _next_number(self) -> int:
        self._sessions += 1
        return self._sessions - 1

    async def _converse(self, session: Session, due_s: float, number: int) -> str:
        """Send a session's calls one after the other; return its last answer."""
        said: list[Message] = [{"role": "system", "content": session.system}] if session.system else []
        text = ""
        for call in session.calls:
            if call.pause_s:
                due_s = time.perf_counter() + call.pause_s
                await asyncio.sleep(call.pause_s)
            new = call.text
            if call.helpers:
                found = await asyncio.gather(
                    *(self._converse(helper, time.perf_counter(), number) for helper in call.helpers)
                )
                new = "\n".join((*found, new))
                due_s = time.perf_counter()
            said.append({"role": "user", "content": new})
            answer, is_whole = await self._call(session, said, call.output_tokens, due_s, number)
            if not is_whole:
                return text  # what would follow has no beginning
            text = answer
            said.append({"role": "assistant", "content": text})
            due_s = time.perf_counter()
        return text

    async def _call(
        self, session: Session, said: list[Message], output_tokens: int, due_s: float, number: int
    ) -> tuple[str, bool]:
        body = self._endpoint.body(said, output_tokens, session.model)
        is_warm_up = self.progress.sent < self._warm_up
        self.progress.sent += 1
        answer, sent_s, problem = await self._endpoint.ask(body)
        record = self._endpoint.record(
            answer,
            session=number,
            stream=session.stream,
            began_s=self._began_s,
            due_s=due_s,
            sent_s=sent_s,
            problem=problem,
            is_warm_up=is_warm_up,
        )
        self._records.append(record)
        self.progress.note(record)
        return answer.text, record.is_answered
