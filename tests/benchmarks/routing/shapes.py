"""The shapes of load on simulated engines: each made for a number of engines, with words of its own for each seed.

A word is about 1.4 tokens, a picture 600. An engine prefills 8 000 tokens a second and caches 38 400
(`sim_engines.TIMING`).
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

from deployments.simulator.trace import TraceRequest
from tests.benchmarks.chat_prompts import english
from tests.benchmarks.routing.sim_engines import TIMING
from tests.benchmarks.routing.workload import Conversation, Turn, Workload
from tests.engine_contract.pictures import inline, png_of

TRACE_SCALE: Final = 8
"""The trace's prompts, blocks, answers and times divided by this number: the same load in tokens a second, with prompts
that fit into the engines' caches."""
TRACE_BLOCK_TOKENS: Final = 512 // TRACE_SCALE
TRACE_ENGINES: Final = 8
"""Engines on which the trace runs at its own rate; on more it runs faster in proportion."""
TRACE_REQUESTS: Final = 40
"""Requests for each engine: about 11 seconds of the scaled trace."""
_MESSAGE_WORDS: Final = 15
_ANSWER_TOKENS: Final = 16

Shape = Callable[[int, random.Random], Workload]


def pressure(engines: int, rng: random.Random) -> Workload:
    """Make many groups of chats whose 2 000-word system prompts together nearly fill all caches: 11 an engine."""
    return _grouped_chats(rng, groups=11 * engines, chats=2, turns=3, system_words=2000, at_a_time=3 * engines)


def few_groups(engines: int, rng: random.Random) -> Workload:
    """Make half as many groups as engines, with many chats each."""
    return _grouped_chats(rng, groups=engines // 2, chats=24, turns=3, system_words=1000, at_a_time=4 * engines)


def hot_prefix(engines: int, rng: random.Random) -> Workload:
    """Send four questions an engine and more to one prefix of 2 000 words, 64 at once."""
    questions = 64 + 16 * engines
    return _grouped_chats(rng, groups=1, chats=questions, turns=1, system_words=2000, at_a_time=64)


def agents(engines: int, rng: random.Random) -> Workload:
    """Make agents of half as many kinds as engines: long instructions, six turns that grow by what a tool returns."""
    instructions = [english(2500, rng) for _ in range(engines // 2)]
    conversations = [
        Conversation(
            instructions[number % len(instructions)],
            tuple(
                Turn(
                    english(rng.randint(50, 400) if turn else 40, rng),
                    tokens=24,
                    pause_s=rng.uniform(0.1, 0.8) if turn else 0.0,
                )
                for turn in range(6)
            ),
        )
        for number in range(6 * engines)
    ]
    rng.shuffle(conversations)
    return Workload(tuple(conversations), at_a_time=3 * engines)


def bursts(engines: int, rng: random.Random) -> Workload:
    """Send 1.5 requests a second and engine for 9 s, and every 2 s four an engine at once, of three groups only."""
    systems = [english(800, rng) for _ in range(2 * engines)]
    conversations = [
        Conversation(rng.choice(systems), _question(rng), starts_s=rng.uniform(0.0, 9.0))
        for _ in range(int(9 * 1.5 * engines))
    ]
    for burst_s in (1.0, 3.0, 5.0, 7.0):
        hot = rng.sample(systems, 3)
        conversations += [
            Conversation(rng.choice(hot), _question(rng), starts_s=burst_s + rng.uniform(0.0, 0.05))
            for _ in range(4 * engines)
        ]
    return Workload(tuple(sorted(conversations, key=lambda each: each.starts_s)))


def pictures(engines: int, rng: random.Random) -> Workload:
    """Ask four times about each of 40 pictures an engine, in an order of chance: they nearly fill the caches.

    One of four requests is the first about its picture, so the 90th percentile is at least what a picture takes.
    """
    shown = [_picture(rng) for _ in range(40 * engines)] * 4
    rng.shuffle(shown)
    conversations = (Conversation("", _question(rng), picture=picture) for picture in shown)
    return Workload(tuple(conversations), at_a_time=3 * engines)


SHAPES: Final[dict[str, Shape]] = {
    "pressure": pressure,
    "few_groups": few_groups,
    "hot_prefix": hot_prefix,
    "agents": agents,
    "bursts": bursts,
    "pictures": pictures,
}
"""Those that need no data file."""
UNDER_PRESSURE: Final = frozenset({"pressure"})
"""Shapes that the caches cannot hold on every engine, so where a group goes decides what is computed again."""


def trace_part(trace: Sequence[TraceRequest], engines: int, rng: random.Random) -> Workload:
    """Make a stretch of the trace that begins anywhere, at a clock and with blocks of 1 / `TRACE_SCALE`.

    Args:
        trace: the whole trace, in the order of its times.
        engines: the stretch has `TRACE_REQUESTS` for each.
        rng: says where it begins, and all words.
    """
    count = TRACE_REQUESTS * engines
    first = rng.randrange(len(trace) - count)
    stretch = trace[first : first + count]
    speed = TRACE_SCALE * engines / TRACE_ENGINES
    blocks: dict[int, str] = {}
    conversations = []
    for request in stretch:
        for block in request.hash_ids:
            if block not in blocks:
                blocks[block] = _exactly(TRACE_BLOCK_TOKENS, rng)
        text = "".join(blocks[block] for block in request.hash_ids)
        # The chat template and the answer need some room in the cache beside the prompt.
        text = text[: int((request.input_length // TRACE_SCALE) * TIMING.chars_per_token)] or "?"
        tokens = max(2, min(request.output_length // TRACE_SCALE, 64))
        starts_s = (request.timestamp - stretch[0].timestamp) / 1000.0 / speed
        conversations.append(Conversation("", (Turn(text, tokens),), starts_s=starts_s))
    return Workload(tuple(conversations))


def _grouped_chats(  # noqa: PLR0913 - the figures of one kind of load
    rng: random.Random, *, groups: int, chats: int, turns: int, system_words: int, at_a_time: int
) -> Workload:
    """Make `chats` chats of `turns` turns in each group, in an order of chance; a group shares its system prompt."""
    systems = [english(system_words, rng) for _ in range(groups)] * chats
    rng.shuffle(systems)
    conversations = (Conversation(system, _question(rng, turns)) for system in systems)
    return Workload(tuple(conversations), at_a_time)


def _question(rng: random.Random, turns: int = 1) -> tuple[Turn, ...]:
    return tuple(Turn(english(_MESSAGE_WORDS, rng), _ANSWER_TOKENS) for _ in range(turns))


def _picture(rng: random.Random) -> str:
    """Return a picture of 44 by 44 random pixels, 6 KB, as a `data:` URL."""
    side = 44
    return inline(png_of(side, b"".join(b"\0" + rng.randbytes(3 * side) for _ in range(side))))


def _exactly(tokens: int, rng: random.Random) -> str:
    """Return text of exactly so many of the simulated engine's tokens."""
    chars = int(tokens * TIMING.chars_per_token)
    return english(chars // 3, rng)[:chars]
