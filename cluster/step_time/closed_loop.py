"""What a closed loop of requests gets: time to the first token, time between tokens, and tokens a second.

Each of `concurrency` clients sends its next request when it has its answer, as measurements of engines do. Their first
requests come at once, and later ones are still bunched, so a prompt waits for others longer than evenly spread arrivals
would make it (`burst`). A step that has prompt tokens is longer for all answers beside them: chunked prefill.

Prefill on replicas of its own is a queue that clients come back to after the time of an answer; its mean wait is
that of
Schweitzer's approximation for closed networks ("Approximate analysis of multiclass closed networks of queues", 1979),
which is exact where the queue never empties and where nobody waits.
"""

from dataclasses import dataclass

from cluster.step_time.coefficients import Coefficients
from cluster.step_time.figures import ReplicaSizes, StepLoad
from cluster.step_time.paced import decode_s, prompt_extra_s, prompts_s
from cluster.step_time.step import longer

_CAP_SHARPNESS = 8.0


@dataclass(frozen=True, slots=True)
class LoopReplica:
    """A replica in a closed loop, as the cost model sees it.

    Attributes:
        figures: the replica.
        coefficients: its coefficients.
        separate: 1 where its steps compute either prompts or answers, else 0.
        step_tokens: prompt tokens of the largest step.
        stages: pipeline stages, each of which works on another part of the batch.
    """

    figures: ReplicaSizes
    coefficients: Coefficients
    separate: float
    step_tokens: float
    stages: float = 1.0


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of a closed loop.

    Attributes:
        concurrency: requests that are under way at once, at all replicas together.
        input_tokens: tokens of a prompt.
        output_tokens: tokens of an answer.
        attended: tokens that an answer's token attends to, summed over layers.
        prompt_attended: tokens that a prompt's token attends to, summed over layers.
    """

    concurrency: float
    input_tokens: float
    output_tokens: float
    attended: float
    prompt_attended: float

    @property
    def context(self) -> float:
        """Tokens before an answer's token, on average."""
        return self.input_tokens + self.output_tokens / 2

    @property
    def prompt_context(self) -> float:
        """Tokens before a prompt's token, on average."""
        return self.input_tokens / 2

    def load(self, decode: float, prefill: float) -> StepLoad:
        """Return the load of a step on each rank.

        Args:
            decode: sequences that get a token.
            prefill: prompt tokens.
        """
        return StepLoad(
            decode, prefill, prefill, self.attended, self.prompt_attended, self.context, self.prompt_context
        )


@dataclass(frozen=True, slots=True)
class LoopTimes:
    """What a closed loop measures.

    Attributes:
        ttft_s: mean seconds to the first token.
        tpot_s: mean seconds between tokens.
        tokens_per_s: output tokens a second of all replicas.
    """

    ttft_s: float
    tpot_s: float
    tokens_per_s: float


def together(engine: LoopReplica, requests: Requests, room: float) -> LoopTimes:
    """Return what a closed loop measures at one replica that computes prompts and answers.

    Args:
        engine: the replica.
        requests: the requests.
        room: sequences that its KV cache holds, of all ranks.
    """
    c, data = engine.coefficients, engine.figures.data
    running = _capped(requests.concurrency, room)
    batch = running / data / engine.stages
    prompt_s = one_prompt_s(engine, requests)
    tpot_s = interrupted_s(engine, requests, batch)
    answer_s = (requests.output_tokens - 1) * tpot_s
    wait_s = c.burst * requests.concurrency / data * prompt_s + c.turnover * answer_s
    ttft_s = c.first_token_s + tpot_s / 2 + prompt_s + wait_s
    ttft_s = ttft_s + _above_one(requests.concurrency / room) * (ttft_s + answer_s)
    return _times(requests, ttft_s, tpot_s)


def apart(
    prefill: LoopReplica, decode: LoopReplica, requests: Requests, workers: tuple[float, float], room: float
) -> LoopTimes:
    """Return what a closed loop measures at replicas that compute prompts and others that compute answers.

    Args:
        prefill: a replica for prompts.
        decode: a replica for answers.
        requests: the requests.
        workers: replicas of each kind.
        room: sequences that the KV cache of each decode replica holds, of all its ranks.
    """
    c = decode.coefficients
    servers = workers[0] * prefill.figures.data
    ranks = workers[1] * decode.figures.data * decode.stages
    running = _capped(requests.concurrency, room * workers[1])
    prompt_s = one_prompt_s(prefill, requests)
    tpot_s = decode_s(decode.figures, c, requests.load(running / ranks, 0 * running))
    ttft_s = prompt_s + c.first_token_s
    for _ in range(2):  # those that wait for their prompts are not decoded
        answer_s = (requests.output_tokens - 1) * tpot_s
        batch = _at_least_one(running * answer_s / (ttft_s + answer_s) / ranks)
        tpot_s = decode_s(decode.figures, c, requests.load(batch, 0 * batch))
        answer_s = (requests.output_tokens - 1) * tpot_s
        queued_s = prompt_s * requests.concurrency / servers - answer_s
        queue_s = (queued_s + (queued_s**2 + 4 * prompt_s * answer_s) ** 0.5) / 2
        together_s = c.apart_burst * prompt_s * requests.concurrency / servers
        ttft_s = longer(queue_s, together_s) + c.first_token_s + c.transfer_s + tpot_s + c.turnover * answer_s
    ttft_s = ttft_s + _above_one(requests.concurrency / (room * workers[1])) * (ttft_s + answer_s)
    return _times(requests, ttft_s, tpot_s)


def one_prompt_s(engine: LoopReplica, requests: Requests) -> float:
    """Return the seconds in which a rank computes one prompt, alone."""
    chunks = _at_least_one(requests.input_tokens / engine.step_tokens)
    tokens = requests.input_tokens / chunks
    return chunks * prompts_s(engine.figures, engine.coefficients, requests.load(0 * tokens, tokens))


def interrupted_s(engine: LoopReplica, requests: Requests, batch: float) -> float:
    """Return the mean seconds of a step of `batch` sequences a rank, some of which also compute prompts.

    In the time of an answer as many prompts come as run beside it, and each delays the ranks that share its experts.
    """
    c, figures = engine.coefficients, engine.figures
    arrivals = batch / requests.output_tokens
    chunk = _capped(requests.input_tokens * (1 + arrivals), engine.step_tokens)
    often = _capped(arrivals * requests.input_tokens / chunk * figures.data**c.lockstep, 1.0)
    extra_s = prompt_extra_s(figures, c, requests.load(batch, chunk), engine.separate)
    return decode_s(figures, c, requests.load(batch, 0 * batch)) + often * extra_s


def _times(requests: Requests, ttft_s: float, tpot_s: float) -> LoopTimes:
    whole_s = ttft_s + (requests.output_tokens - 1) * tpot_s
    return LoopTimes(ttft_s, tpot_s, requests.concurrency * requests.output_tokens / whole_s)


def _capped(value: float, most: float) -> float:
    """Return the value, or about `most` where it is larger."""
    capped: float = value / (1 + (value / most) ** _CAP_SHARPNESS) ** (1 / _CAP_SHARPNESS)
    return capped


def _at_least_one(value: float) -> float:
    raised: float = (1 + value**_CAP_SHARPNESS) ** (1 / _CAP_SHARPNESS)
    return raised


def _above_one(value: float) -> float:
    """Return by how much a value is above one, 0 if it is not."""
    return (abs(value - 1) + (value - 1)) / 2
