"""The prompts of a load: all different, a few over and over, or chats. Made before the clock starts."""

import random
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.benchmarks.chat_prompts import ChatPrompts, english
from tests.benchmarks.load_plan import LoadPlan, Prompts

REPEATED: Final = 256
"""How many prompts a load of `Prompts.REPEATED` has."""
_TEXT_WORDS: Final = 500_000


@cache
def _text() -> tuple[bytes, list[int]]:
    """Return a long text of random words, and where each word starts."""
    text = english(_TEXT_WORDS, random.Random(_TEXT_WORDS)).encode()
    starts = [0]
    while (blank := text.find(b" ", starts[-1])) >= 0:
        starts.append(blank + 1)
    return text, starts


def messages_of(plan: LoadPlan) -> Iterator[bytes]:
    """Yield the `messages` of each of a plan's requests, as JSON."""
    if plan.prompts is Prompts.CHATS:
        yield from ChatPrompts(plan.words, plan.seed).messages(plan.requests)
    elif plan.prompts is Prompts.REPEATED:
        few = [_message(plan, b"prompt-%d" % i, random.Random(i)) for i in range(REPEATED)]
        rng = random.Random(plan.seed)
        for _ in range(plan.requests):
            yield rng.choice(few)
    else:
        rng = random.Random(plan.seed)
        for i in range(plan.requests):
            yield _message(plan, b"%d-%d" % (i, plan.seed), rng)


def _message(plan: LoadPlan, first_word: bytes, rng: random.Random) -> bytes:
    """Return one user message: `first_word`, which no other prompt has, then a piece of the text."""
    text, starts = _text()
    if plan.characters:
        wanted = plan.characters - len(first_word) - 1
        start = starts[rng.randrange(len(starts) - wanted)]
        end = start + wanted
    else:
        word = rng.randrange(len(starts) - plan.words)
        start, end = starts[word], starts[word + plan.words - 1] - 1
    return b'[{"role":"user","content":"%b %b"}]' % (first_word, text[start:end])
