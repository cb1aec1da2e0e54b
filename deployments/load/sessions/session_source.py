"""The sessions of a load: from streams, or from a recorded trace."""

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random

from deployments.load.sessions.agents import agent
from deployments.load.sessions.live_stream import LiveStream
from deployments.load.sessions.session import Call, Session
from deployments.load.sessions.texts import Texts
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.trace import TraceRequest
from deployments.twin.arrivals import Arrival, RequestMaker, recorded, stream_requests
from deployments.twin.conversations import Beginnings, begins, conversations


def sessions_of(spec: LiveStream, number: int, seed: int, texts: Texts) -> Iterator[Session]:
    """Yield a stream's sessions in the order in which they begin.

    Single requests of an open loop are those that `rackserve simulate` has of the same stream and seed. A stream that
    bounds how many are under way has no times; without `requests` it never ends.

    Args:
        spec: the stream.
        number: its place in the load, from 0.
        seed: seed of all chance.
        texts: makes the prompts.
    """
    rng = Random(f"{seed} {number}")  # noqa: S311 - replayable
    if spec.calls_most:
        yield from _bounded(spec, _agents(spec, number, rng, texts))
    elif spec.turns > 1:
        yield from _bounded(spec, _chats(spec, number, rng, texts))
    elif spec.at_a_time:
        maker = RequestMaker(spec, rng)
        endless = (maker.first(0.0) for _ in count())
        yield from _bounded(spec, (_single(each, number, texts) for each in endless))
    else:
        yield from (_single(each, number, texts) for each in stream_requests(spec, rng))


def recorded_sessions(trace: Sequence[TraceRequest], speedup: float, seed: int, texts: Texts) -> Iterator[Session]:
    """Yield a trace's requests, each a session of its own; equal blocks get equal texts.

    Args:
        trace: the requests, in the order of their times.
        speedup: factor by which they come faster.
        seed: seed of the texts.
        texts: makes the prompts.
    """
    # Models of a trace may have other names here: the run's model is asked.
    yield from (_single(each, 0, texts) for each in recorded(trace, seed, speedup))


def _single(arrival: Arrival, number: int, texts: Texts) -> Session:
    text = texts.prompt(arrival.blocks, arrival.prompt_tokens)
    return Session((Call(text, arrival.output_tokens),), "", arrival.at_s, arrival.model, stream=number)


def _bounded(spec: LiveStream, sessions: Iterator[Session]) -> Iterator[Session]:
    """Yield sessions until they have the stream's number of requests; the last one is not cut."""
    sent = 0
    for session in sessions:
        yield session
        sent += session.requests
        if spec.requests and sent >= spec.requests:
            return


def _chats(spec: LiveStream, number: int, rng: Random, texts: Texts) -> Iterator[Session]:
    """Yield chats: those that `rackserve simulate` has of the same stream and seed."""
    systems = SharedBeginnings(spec, number, texts)
    for chat in conversations(spec, rng):
        calls = tuple(Call(texts.fresh(turn.prompt_tokens), turn.output_tokens, turn.pause_s) for turn in chat.turns)
        yield Session(calls, systems.text(chat.beginning), chat.begins_s, spec.model, stream=number)


def _agents(spec: LiveStream, number: int, rng: Random, texts: Texts) -> Iterator[Session]:
    systems, beginnings = SharedBeginnings(spec, number, texts), Beginnings(spec.prefixes, rng)
    for at_s in begins(spec, rng, (spec.calls_least + spec.calls_most) / 2):
        yield agent(spec, number, rng, texts, system=systems.text(beginnings.draw()), begins_s=at_s)


class SharedBeginnings:
    """The system prompts of a stream.

    Args:
        spec: the stream.
        number: its place in the load: no two streams share any.
        texts: makes them.
    """

    def __init__(self, spec: LiveStream, number: int, texts: Texts) -> None:
        blocks = spec.prefix_tokens // BLOCK_TOKENS
        left = spec.prefix_tokens % BLOCK_TOKENS
        self._texts = [
            "".join(texts.block(_named(number, rank, block)) for block in range(blocks))
            + (texts.fresh(left) if left else "")
            for rank in range(spec.prefixes)
        ]

    def text(self, rank: int) -> str:
        """Return one by its number; "": below 0, where the stream has none."""
        return self._texts[rank] if rank >= 0 else ""


def _named(stream: int, rank: int, block: int) -> int:
    """Return a number for a block of a shared beginning, another one for each."""
    return (stream << 48) + (rank << 24) + block
