"""Seconds of steps as an engine's version makes them: its pace, and what prompts add to a step.

An engine that mixes prompts and answers in one step reads the weights once for both; one that keeps them apart takes a
step of its own for the prompts, while the answers wait.
"""

from dataclasses import replace

from cluster.step_time.coefficients import Coefficients
from cluster.step_time.figures import ReplicaSizes, StepLoad
from cluster.step_time.step import PassTime, step_time


def without_prompts(load: StepLoad) -> StepLoad:
    """Return the load without its prompt tokens."""
    none = 0 * load.prefill
    return replace(load, prefill=none, most_prefill=none)


def without_answers(load: StepLoad) -> StepLoad:
    """Return the load without the sequences that get a token."""
    return replace(load, decode=0 * load.decode)


def decode_s(figures: ReplicaSizes, c: Coefficients, load: StepLoad) -> float:
    """Return the seconds of a step that computes answers alone; the load has no prompts."""
    return c.decode_pace * step_time(figures, c, load).total


def prompts_s(figures: ReplicaSizes, c: Coefficients, load: StepLoad) -> float:
    """Return the seconds of a step that computes prompts alone; the load has no answers."""
    return c.prefill_pace * step_time(figures, c, load).total + c.prompt_step_s


def prompt_extra_s(figures: ReplicaSizes, c: Coefficients, load: StepLoad, separate: float) -> float:
    """Return the seconds that a step of answers takes longer with the prompts of a load.

    Args:
        figures: the replica.
        c: coefficients of its engine.
        load: answers and prompts of the step.
        separate: 1 where the engine computes the prompts in a step of their own, else 0.
    """
    own_s = step_time(figures, c, without_answers(load)).total
    mixed_s = step_time(figures, c, load).total - step_time(figures, c, without_prompts(load)).total
    return c.prefill_pace * (separate * own_s + (1 - separate) * mixed_s) + c.prompt_step_s


def paced_step(figures: ReplicaSizes, c: Coefficients, load: StepLoad, *, separate: bool) -> PassTime:
    """Return the time of one step by what it is spent on, the version's pace and the work for prompts included."""
    if not load.prefill and not load.most_prefill:
        return step_time(figures, c, load).times(c.decode_pace)
    whole = step_time(figures, c, load)
    if not load.decode:
        return _with_host(whole.times(c.prefill_pace), c)
    plain = step_time(figures, c, without_prompts(load))
    prompts = step_time(figures, c, without_answers(load)) if separate else whole.plus(plain, -1.0)
    return _with_host(plain.times(c.decode_pace).plus(prompts, c.prefill_pace), c)


def _with_host(step: PassTime, c: Coefficients) -> PassTime:
    return replace(step, host=step.host + c.prompt_step_s)
