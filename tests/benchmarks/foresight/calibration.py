"""How fast this machine's engines are, by requests that are no part of any load: what the twin is given of them.

One replica alone: answers of one to six streams with short and long prompts say what a step takes; prompts that come
while a stream runs, and hold it up, what prompt tokens take; prompts by themselves, through the gateway, what a request
takes beside that. Then one, two and three replicas generate at once: by how much steps are longer says what share of
the cores each engine gets.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from statistics import fmean, median
from typing import Any, Final

import numpy as np

from deployments.load.client.endpoint import LoadEndpoint, Message
from deployments.load.client.streamed_answer import StreamedAnswer
from deployments.load.sessions.texts import Texts
from tests.benchmarks.token_streams import BrokenStreamError

PROMPTS: Final = (60, 200, 400, 600)
STREAMS: Final = ((1, 60), (2, 60), (4, 60), (6, 60), (1, 600), (3, 600))
"""Pairs of streams at once on one engine, and tokens of their prompts."""
SHARED_STREAMS: Final = 2
"""Streams on each engine while several engines compute."""
ANSWER_TOKENS: Final = 40
HELD_UP_TOKENS: Final = 120
"""Answer of the stream that prompts hold up: longer than they take together."""
HELD_UP_EVERY_S: Final = 0.3
ROUNDS: Final = 2


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """How fast an engine is.

    Attributes:
        request_s: seconds of a request outside of the engine.
        step_s: seconds of a step in which sequences get tokens.
        prompt_step_s: seconds of a step with prompts alone.
        sequence_s: of each sequence that gets a token.
        context_token_s: of each token that those attend to.
        prompt_token_s: of each prompt token.
        attended_s: of each token that a prompt token attends to.
        slower: factor by which steps are longer while one, two, three engines compute.
    """

    request_s: float
    step_s: float
    prompt_step_s: float
    sequence_s: float
    context_token_s: float
    prompt_token_s: float
    attended_s: float
    slower: tuple[float, ...]

    def steps(self) -> dict[str, float]:
        """Return what a scenario file says of its steps."""
        told: dict[str, Any] = asdict(self)
        return {name: value for name, value in told.items() if name not in {"request_s", "slower"}}


def mean_speed(speeds: Sequence[EngineSpeed]) -> EngineSpeed:
    """Return the mean of several calibrations."""
    slower = tuple(fmean(values) for values in zip(*(each.slower for each in speeds), strict=True))
    names = ("request_s", "step_s", "prompt_step_s", "sequence_s", "context_token_s", "prompt_token_s", "attended_s")
    return EngineSpeed(**{name: fmean(getattr(each, name) for each in speeds) for name in names}, slower=slower)


@dataclass(frozen=True, slots=True)
class StreamsSeen:
    """Equal streams on one engine.

    Attributes:
        streams: how many.
        context: tokens that each attends to, on average over its answer.
        tpot_s: mean seconds of a token after the first.
    """

    streams: int
    context: float
    tpot_s: float


def fitted(
    prompts: Sequence[tuple[int, float]],
    held_up: Sequence[tuple[int, float]],
    streams: Sequence[StreamsSeen],
    shared_s: Mapping[int, float],
) -> EngineSpeed:
    """Return the speed that what was measured says.

    Args:
        prompts: pairs of a prompt's tokens and the seconds to its first token, alone.
        held_up: pairs of a prompt's tokens and the seconds by which it held up a stream.
        streams: streams on one engine alone.
        shared_s: mean seconds of a token, by the number of engines that computed at once.
    """
    decode = np.array([[1.0, each.streams, each.streams * each.context] for each in streams])
    step_s, sequence_s, context_s = positive_fit(decode, np.array([each.tpot_s for each in streams]))
    tokens = np.array([float(count) for count, _ in held_up])
    prefill = np.stack([tokens, tokens**2 / 2], axis=1)
    token_s, attended_s = positive_fit(prefill, np.array([seconds for _, seconds in held_up]))
    beside_s = fmean(seconds - count * (token_s + attended_s * count / 2) for count, seconds in prompts)
    # A step with prompts alone takes no longer than one with streams: what is beyond that is outside of the engine.
    prompt_step_s = min(max(0.0, beside_s), step_s)
    request_s = max(0.0, beside_s - prompt_step_s)
    alone_s = shared_s[1]
    slower = tuple(max(1.0, shared_s[engines] / alone_s) for engines in sorted(shared_s))
    return EngineSpeed(request_s, step_s, prompt_step_s, sequence_s, context_s, token_s, attended_s, slower)


def positive_fit(columns: Any, values: Any) -> list[float]:  # noqa: ANN401 - numpy arrays
    """Return the weights, none below zero, with which columns come closest to values, by relative error."""
    scaled, wanted = columns / values[:, None], np.ones_like(values)
    best, least = [0.0] * columns.shape[1], np.inf
    for size in range(1, columns.shape[1] + 1):
        for chosen in combinations(range(columns.shape[1]), size):
            weights = np.linalg.lstsq(scaled[:, chosen], wanted, rcond=None)[0]
            error = float(((scaled[:, chosen] @ weights - wanted) ** 2).sum())
            if (weights >= 0.0).all() and error < least:
                best, least = [0.0] * columns.shape[1], error
                for place, weight in zip(chosen, weights, strict=True):
                    best[place] = float(weight)
    return best


class Calibration:
    """Measures a cluster of idle replicas.

    Args:
        gateway: the cluster, as apps see it.
        replicas: its replicas, straight.
        texts: makes prompts that nobody has sent.
    """

    def __init__(self, gateway: LoadEndpoint, replicas: Sequence[LoadEndpoint], texts: Texts) -> None:
        self._gateway, self._replicas, self._texts = gateway, replicas, texts

    async def measured(self) -> EngineSpeed:
        """Return the speed of the engines now.

        Raises:
            BrokenStreamError: an answer was not whole.
        """
        prompts: list[tuple[int, float]] = []
        held_up: list[tuple[int, float]] = []
        streams: list[StreamsSeen] = []
        shared_s: dict[int, list[float]] = {}
        alone = self._replicas[0]
        for _ in range(ROUNDS):
            for tokens in PROMPTS:
                answer, sent_s = await self._ask(self._gateway, tokens, 1)
                prompts.append((answer.usage.prompt_tokens or tokens, answer.times_s[0] - sent_s))
            held_up += await self._held_up()
            for count, tokens in STREAMS:
                answers = await asyncio.gather(*(self._ask(alone, tokens, ANSWER_TOKENS) for _ in range(count)))
                known = fmean(answer.usage.prompt_tokens or tokens for answer, _ in answers)
                streams.append(StreamsSeen(count, known + ANSWER_TOKENS / 2, _tpot_s(answers)))
            for engines in range(1, len(self._replicas) + 1):
                answers = await asyncio.gather(
                    *(
                        self._ask(engine, PROMPTS[0], ANSWER_TOKENS)
                        for engine in self._replicas[:engines]
                        for _ in range(SHARED_STREAMS)
                    )
                )
                shared_s.setdefault(engines, []).append(_tpot_s(answers))
        return fitted(prompts, held_up, streams, {engines: fmean(seconds) for engines, seconds in shared_s.items()})

    async def _held_up(self) -> list[tuple[int, float]]:
        """Return prompts that came while a stream ran, and the seconds by which each held it up."""
        alone = self._replicas[0]
        stream = asyncio.ensure_future(self._ask(alone, PROMPTS[0], HELD_UP_TOKENS))
        spans: list[tuple[int, float, float]] = []
        for tokens in PROMPTS[1:]:
            await asyncio.sleep(HELD_UP_EVERY_S)
            other, sent_s = await self._ask(alone, tokens, 1)
            spans.append((other.usage.prompt_tokens or tokens, sent_s, other.times_s[0]))
        answer, _ = await stream
        gaps = [(before, after - before) for before, after in pairwise(answer.times_s)]
        usual_s = median(gap for _, gap in gaps)
        found = []
        for tokens, sent_s, first_s in spans:
            during = [gap for began_s, gap in gaps if sent_s - usual_s <= began_s <= first_s]
            if during:
                found.append((tokens, max(during) - usual_s))
        return [(tokens, seconds) for tokens, seconds in found if seconds > 0.0]

    async def template_tokens(self) -> int:
        """Return the tokens that the chat template adds to one further turn of a conversation."""
        first: list[Message] = [{"role": "user", "content": self._texts.fresh(8)}]
        more = [
            {"role": "assistant", "content": self._texts.fresh(8)},
            {"role": "user", "content": self._texts.fresh(8)},
        ]
        told = []
        for messages in (first, [*first, *more]):
            answer, _, problem = await self._gateway.ask(self._gateway.body(messages, 1))
            if problem or answer.usage.prompt_tokens is None:
                raise BrokenStreamError(problem or "the engine does not say its prompt's tokens")
            told.append(answer.usage.prompt_tokens)
        return max(0, told[1] - told[0] - 16)

    async def _ask(self, endpoint: LoadEndpoint, prompt: int, output: int) -> tuple[StreamedAnswer, float]:
        body = endpoint.body([{"role": "user", "content": self._texts.fresh(prompt)}], output)
        answer, sent_s, problem = await endpoint.ask(body)
        if problem or not answer.times_s:
            raise BrokenStreamError(problem or "an answer has no token")
        return answer, sent_s


def _tpot_s(answers: Sequence[tuple[StreamedAnswer, float]]) -> float:
    """Return the mean seconds of a token while all streams ran: from the last first token to the first last one."""
    return fmean((answer.times_s[-1] - answer.times_s[0]) / (len(answer.times_s) - 1) for answer, _ in answers)
