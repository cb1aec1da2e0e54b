"""An offline run: all requests are there at the start, and the throughput is that of the time until the last answer.

`ReplicaCost.steady` keeps its batch full. An offline run does not: prompts fill the batch first, and when none are left
the longest answers run with fewer and fewer others beside them. Where answers are of very different length that is a
large part of the run. Counted is one data-parallel rank, in blocks of steps with the same load; the others are like it.
"""

import math
import statistics
from collections import defaultdict
from dataclasses import replace
from statistics import NormalDist
from typing import Final

from cluster.replica_cost.cost_model import ReplicaCost, Work

BLOCKS: Final = 50
"""Blocks of steps in which an answer of mean length is generated; four times as many change a run by 2 % at most."""
_ROUNDS: Final = 6
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
"""Multiples of it, modulo 1, fill the unit interval evenly in no order (Weyl's sequence)."""


def offline_tokens_per_s(
    cost: ReplicaCost, work: Work, requests: float, max_batch: int, most_tokens: int | None = None
) -> float:
    """Return the output tokens a second of a replica that works through `requests` requests.

    Args:
        cost: the replica.
        work: sizes of the requests.
        requests: requests of each data-parallel rank.
        max_batch: most sequences that run at once on each rank; the KV cache may allow fewer.
        most_tokens: longest answer; None: as long as the distribution goes.
    """
    waiting = answer_lengths(work, max(1, round(requests)), most_tokens)
    tokens, room = sum(waiting), max(1, min(max_batch, cost.sequences(work.mean_context)))
    block = max(1.0, work.output_tokens / BLOCKS)
    steps = block / cost.per_step
    now, elapsed_s, fit, running, begun = 0, 0.0, 0.0, 0, 0
    ends = defaultdict[int, list[int]](list)  # block in which answers end -> blocks in which they began
    while waiting or running:
        # A step has room for some prompt tokens; what is left over of a prompt is computed in the next block.
        fit = min(1.0, fit % 1.0) + steps * max(1.0, cost.step_tokens - running * cost.verified) / work.new_tokens
        joining = min(len(waiting), room - running, max(int(fit), 0 if running else 1))
        fit -= joining
        for _ in range(joining):
            ends[now + max(1, round(waiting.pop() / block))].append(now)
        running, begun = running + joining, begun + joining * now
        made = (now - begun / running) * block
        elapsed_s += steps * _step_s(cost, work, running, made, joining * work.new_tokens / steps)
        now += 1
        ended = ends.pop(now, [])
        running, begun = running - len(ended), begun - sum(ended)
    return cost.layout.data * tokens / elapsed_s


def answer_lengths(work: Work, number: int, most_tokens: int | None = None) -> list[float]:
    """Return lengths of answers in no order: log-normal, cut at the longest, then of the work's mean and spread."""
    places = [NormalDist().inv_cdf(math.modf((place + 0.5) * _GOLDEN)[0]) for place in range(number)]
    sigma = math.sqrt(math.log1p(work.output_spread**2))
    lengths = _cut(work.output_tokens, sigma, places, most_tokens)
    for _ in range(_ROUNDS if most_tokens and work.output_spread and number > 1 else 0):
        sigma *= work.output_spread * work.output_tokens / statistics.pstdev(lengths)
        lengths = _cut(work.output_tokens, sigma, places, most_tokens)
    return lengths


def _cut(mean: float, sigma: float, places: list[float], most_tokens: int | None) -> list[float]:
    lengths = [math.exp(sigma * place) for place in places]
    scale = mean / statistics.fmean(lengths)
    if most_tokens is None:
        return [length * scale for length in lengths]
    for _ in range(_ROUNDS):  # what is cut off goes to the others, so that the mean stays
        cut = [min(float(most_tokens), length * scale) for length in lengths]
        scale *= mean / statistics.fmean(cut)
    return cut


def _step_s(cost: ReplicaCost, work: Work, running: int, made: float, prefill: float) -> float:
    stages = cost.layout.pipeline
    # `Work` gives the context that steps attend to: that of these sequences, not of the mean ones.
    there = replace(work, output_tokens=max(1.0, 2 * made), output_spread=0.0)
    decode, each = max(1.0, running / stages), prefill / stages
    step = cost.mixed_step(decode, each, there)
    return cost.through_stages_s(step.total, decode * cost.verified + each)
