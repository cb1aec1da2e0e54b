"""Asks the endpoint under load: bodies of requests, and records of what came of them."""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from deployments.load.client.connection import BrokenAnswerError, ConnectionPool
from deployments.load.client.record import Counted, RequestRecord
from deployments.load.client.streamed_answer import StreamedAnswer

CHATS: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
Message = dict[str, str]
CountTokens = Callable[[str], int]


class LoadEndpoint:
    """An OpenAI-compatible endpoint that a load is sent to.

    Args:
        pool: the connections to it.
        model: the model that is asked, where a request names none.
        path: `/v1/chat/completions` or `/v1/completions`.
        timeout_s: seconds after which a request is given up.
        ends_early: let answers end by themselves; else the engine is asked to go on to their length (`ignore_eos`).
        count_tokens: counts the tokens of a text where the endpoint does not; None: events are counted.
        extra: further fields of each body.

    Attributes:
        gaps_s: seconds between two events with tokens, of all answers.
    """

    def __init__(  # noqa: PLR0913 - what can be said of an endpoint
        self,
        pool: ConnectionPool,
        model: str,
        *,
        path: str = CHATS,
        timeout_s: float = 600.0,
        ends_early: bool = False,
        count_tokens: CountTokens | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.gaps_s = array("d")
        self._pool = pool
        self._path = path
        self._timeout_s = timeout_s
        self._count_tokens = count_tokens
        self._fields: dict[str, Any] = {
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            **({} if ends_early else {"ignore_eos": True}),
            **(extra or {}),
        }

    def body(self, messages: Sequence[Message], output_tokens: int, model: str = "") -> bytes:
        """Return the body of a request."""
        prompt: dict[str, Any] = (
            {"messages": messages}
            if self._path == CHATS
            else {"prompt": "\n".join(message["content"] for message in messages)}
        )
        asked = {"model": model or self.model, **prompt, "max_tokens": output_tokens, **self._fields}
        return msgspec.json.encode(asked)

    async def ask(self, body: bytes, started: Callable[[], None] | None = None) -> tuple[StreamedAnswer, float, str]:
        """Send a body.

        Args:
            body: the request.
            started: called at the answer's first token.

        Returns:
            The answer, when it was sent (`time.perf_counter`), and why it is not whole; "": it is.
        """
        answer = StreamedAnswer(started)
        sent_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._pool.post(self._path, body, answer)
        except TimeoutError:
            return answer, sent_s, f"not answered within {self._timeout_s:g} s"
        except BrokenAnswerError as error:
            return answer, sent_s, str(error)
        return answer, sent_s, answer.refusal()

    def record(  # noqa: PLR0913 - what a record is made of
        self,
        answer: StreamedAnswer,
        *,
        session: int,
        stream: int,
        began_s: float,
        due_s: float,
        sent_s: float,
        problem: str,
        is_warm_up: bool = False,
    ) -> RequestRecord:
        """Return the record of a request, and note the gaps between its tokens.

        Args:
            answer: what came.
            session: number of its session.
            stream: number of its stream.
            began_s: when the run began (`time.perf_counter`).
            due_s: when it was to be sent, as that.
            sent_s: when it was, as that.
            problem: why the answer is not whole.
            is_warm_up: it is not in the figures.
        """
        times = answer.times_s
        longest_s = 0.0
        if len(times) > 1:
            gaps = [after - before for before, after in pairwise(times)]
            longest_s = max(gaps)
            if not is_warm_up:
                self.gaps_s.extend(gaps)
        tokens, counted = self._counted(answer)
        return RequestRecord(
            session=session,
            stream=stream,
            due_s=due_s - began_s,
            sent_s=sent_s - began_s,
            first_s=times[0] - began_s if times else None,
            last_s=(times[-1] if times else time.perf_counter()) - began_s,
            prompt_tokens=answer.usage.prompt_tokens,
            cached_tokens=answer.usage.cached_tokens,
            output_tokens=tokens,
            counted=counted,
            longest_gap_s=longest_s,
            problem=problem,
            is_warm_up=is_warm_up,
        )

    def _counted(self, answer: StreamedAnswer) -> tuple[int, Counted]:
        if answer.usage.completion_tokens is not None:
            return answer.usage.completion_tokens, Counted.USAGE
        if self._count_tokens is not None and answer.parts:
            return self._count_tokens(answer.text), Counted.TOKENIZER
        return len(answer.times_s), Counted.EVENTS
