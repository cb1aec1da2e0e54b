"""Clients that keep asking, and write down what became of each request.

`python -m tests.chaos.traffic --into FILE NAME=HOST:PORT …` asks until SIGTERM, then writes the history as JSON.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from tests.chaos.history import Asked, End
from tests.chaos.own_pulse import OwnPulse
from tests.chaos.prompts import Question, answered_questions, encoded, text_of

PATIENCE_S: Final = 60.0
"""Seconds without a byte after which a client gives a request up."""
ASKED_AFTER_S: Final = 4.0
"""Seconds of a stall after which a gateway is asked which way the request went."""
STREAMS: Final = 0.75
"""Part of the requests that are streamed."""
LEAVERS: Final = 0.04
"""Part of the streams that their client leaves."""
_LIMIT: Final = 1 << 20


class Traffic:
    """A number of clients.

    Args:
        gateways: name → host and port of each; looked up at each request, so it may change.
        questions: what they ask.
        clients: how many ask at a time.
        seed: draws what each asks whom.
        pause_s: how long a client waits before its next request.
        way_of: tells for people where a request with this id went; asked of those that failed or stood still long.

    Attributes:
        history: every request so far.
        pulse: of this process, whose own standing still is nobody's stall.
    """

    def __init__(  # noqa: PLR0913 - what traffic is made of
        self,
        gateways: Mapping[str, tuple[str, int]],
        questions: Sequence[Question],
        clients: int,
        seed: int,
        *,
        pause_s: float = 0.0,
        way_of: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self._way_of = way_of
        self._gateways = gateways
        self._pause_s = pause_s
        self._questions = questions
        self._stopping = False
        self.pulse = OwnPulse()
        self.history: list[Asked] = []
        start = asyncio.get_running_loop().create_task
        self._clients = [start(self._client(Random(f"{seed} {number}"))) for number in range(clients)]

    async def stop(self) -> None:
        """Ask no more; wait until every request has ended."""
        self._stopping = True
        await asyncio.gather(*self._clients)
        await self.pulse.stop()

    async def _client(self, rng: Random) -> None:
        while not self._stopping:
            name = rng.choice(sorted(self._gateways))
            question = rng.choice(self._questions)
            stream = rng.random() < STREAMS
            asked = Asked(len(self.history), name, stream, time.monotonic())
            self.history.append(asked)
            leaves = rng.random() if stream and rng.random() < LEAVERS else 0.0
            asked.end, asked.why = await self._ask(asked, question, leaves)
            asked.ended_s = time.monotonic()
            stood_still = asked.stall_s > ASKED_AFTER_S or asked.end not in {End.FINISHED, End.LEFT}
            if stood_still and self._way_of is not None:
                asked.way = await self._way_of(_id_of(asked))
            if asked.end is End.UNREACHED:
                await asyncio.sleep(0.1)
            if self._pause_s:
                await asyncio.sleep(self._pause_s)

    async def _ask(self, asked: Asked, question: Question, leaves: float) -> tuple[End, str]:
        host, port = self._gateways[asked.gateway]
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port, limit=_LIMIT), PATIENCE_S)
        except (OSError, TimeoutError) as error:
            return End.UNREACHED, repr(error)
        asked.port = writer.get_extra_info("sockname")[1]
        try:
            body = encoded(question, stream=asked.stream)
            writer.write(
                f"POST {question.path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
                f"connection: close\r\n"
                f"x-request-id: {_id_of(asked)}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            return await self._read(asked, question, reader, leaves)
        except TimeoutError:
            return End.STALLED, f"no byte for {PATIENCE_S:g} s"
        except (OSError, asyncio.IncompleteReadError) as error:
            return End.CUT, repr(error)
        finally:
            writer.transport.abort()

    async def _read(
        self, asked: Asked, question: Question, reader: asyncio.StreamReader, leaves: float
    ) -> tuple[End, str]:
        last_s, still_s = time.monotonic(), self.pulse.still_s()

        async def timed(read: Callable[[], Any]) -> bytes:
            nonlocal last_s, still_s
            data: bytes = await asyncio.wait_for(read(), PATIENCE_S)
            now_s, still_now_s = time.monotonic(), self.pulse.still_s()
            stall_s = now_s - last_s - (still_now_s - still_s)
            if asked.stream and stall_s > asked.stall_s:
                asked.stall_s, asked.still_s = stall_s, now_s
            last_s, still_s = now_s, still_now_s
            return data

        head = (await timed(lambda: reader.readuntil(b"\r\n\r\n"))).lower()
        status = int(head[9:12])
        if b"\r\ntransfer-encoding: chunked\r\n" not in head:
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            body = await timed(lambda: reader.readexactly(length))
            return _whole(question, status, body)
        answer = _Streamed(question)
        while size := int((await timed(lambda: reader.readuntil(b"\r\n")))[:-2], 16):
            data = await timed(lambda size=size: reader.readexactly(size + 2))  # type: ignore[misc]
            answer.take(data[:-2])
            if leaves and answer.events > leaves * question.completion_tokens:
                return End.LEFT, ""
        await timed(lambda: reader.readexactly(2))
        return answer.end() if asked.stream else _whole(question, status, answer.raw)


class _Streamed:
    """Puts an answer together from its events."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._pieces: list[str] = []
        self._usages: list[dict[str, Any]] = []
        self._error = ""
        self._done = 0
        self.raw = b""
        self._left = b""
        self.events = 0

    def take(self, data: bytes) -> None:
        self.raw += data
        *lines, self._left = (self._left + data).split(b"\n")
        for line in lines:
            if line == b"data: [DONE]":
                self._done += 1
            elif line.startswith(b"data: "):
                self._event(json.loads(line[6:]))

    def _event(self, event: dict[str, Any]) -> None:
        self.events += 1
        if "error" in event:
            self._error = json.dumps(event)[:200]
        if event.get("usage"):
            self._usages.append(event["usage"])
        self._pieces.append(text_of(event))

    def end(self) -> tuple[End, str]:
        if self._error:
            return End.CUT, self._error
        if self._done != 1 or len(self._usages) != 1:
            return End.WRONG, f"{self._done} ends, {len(self._usages)} usages; {self.raw[-200:]!r}"
        return _compared(self._question, "".join(self._pieces), self._usages[0])


def _id_of(asked: Asked) -> str:
    return f"chaos-{asked.number}"


def _whole(question: Question, status: int, body: bytes) -> tuple[End, str]:
    if status != 200:
        return End.REFUSED, f"{status} {body[:200].decode(errors='replace')}"
    answer = json.loads(body)
    return _compared(question, text_of(answer), answer["usage"])


def _compared(question: Question, text: str, usage: Mapping[str, Any]) -> tuple[End, str]:
    told = usage["prompt_tokens"], usage["completion_tokens"]
    right = question.prompt_tokens, question.completion_tokens
    if text != question.text:
        at = next((i for i, (a, b) in enumerate(zip(text, question.text, strict=False)) if a != b), len(text))
        return End.WRONG, f"text differs at {at} of {len(question.text)}: {text[at - 20 : at + 40]!r}"
    if told != right:
        return End.WRONG, f"usage {told} in place of {right}"
    return End.FINISHED, ""


async def _main(options: argparse.Namespace) -> None:
    questions = await answered_questions(options.model, options.seed, options.tokens)
    gateways = {}
    for each in options.gateway:
        name, _, at = each.partition("=")
        host, _, port = at.rpartition(":")
        gateways[name] = (host, int(port))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    traffic = Traffic(gateways, questions, options.clients, options.seed, pause_s=options.pause_s)
    print("ASKING", flush=True)  # noqa: T201 - the caller waits for it
    await stopped.wait()
    await traffic.stop()
    options.into.write_bytes(msgspec.json.encode(traffic.history))


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gateway", nargs="+", help="NAME=HOST:PORT")
    parser.add_argument("--into", type=Path, required=True, help="where the history goes")
    parser.add_argument("--model", default="m")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause-s", type=float, default=0.0, help="before each client's next request")
    parser.add_argument("--tokens", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(_main(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
