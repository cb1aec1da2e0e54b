"""Agents: hundreds of calls that grow by what tools return, with pauses, and sub-agents of their own."""

from random import Random

from deployments.load.sessions.live_stream import LiveStream
from deployments.load.sessions.session import Call, Session
from deployments.load.sessions.texts import Texts


def agent(  # noqa: PLR0913 - what an agent is drawn from
    spec: LiveStream, number: int, rng: Random, texts: Texts, *, system: str, begins_s: float = 0.0
) -> Session:
    """Return one agent.

    Its first call is the task, `prompt_tokens` long; each further one is what a tool returned. Sub-agents have the same
    instructions and a task of their own, so their prompts share the instructions in the engine's cache.

    Args:
        spec: the stream.
        number: its place in the load.
        rng: draws its calls, and the lengths and pauses of each.
        texts: makes the texts.
        system: its instructions.
        begins_s: when it begins, seconds from the start.
    """
    calls = [Call(texts.fresh(spec.prompt_tokens), spec.output_tokens)]
    for _ in range(rng.randint(spec.calls_least, spec.calls_most) - 1):
        helpers: tuple[Session, ...] = ()
        if rng.random() < spec.helpers:
            helpers = tuple(_helper(spec, number, rng, texts, system) for _ in range(spec.helpers_at_once))
        calls.append(_tool_call(spec, rng, texts, helpers))
    return Session(tuple(calls), system, begins_s, spec.model, stream=number)


def _helper(spec: LiveStream, number: int, rng: Random, texts: Texts, system: str) -> Session:
    calls = [Call(texts.fresh(spec.prompt_tokens), spec.output_tokens)]
    calls += [_tool_call(spec, rng, texts) for _ in range(spec.helper_calls - 1)]
    return Session(tuple(calls), system, 0.0, spec.model, stream=number)


def _tool_call(spec: LiveStream, rng: Random, texts: Texts, helpers: tuple[Session, ...] = ()) -> Call:
    pause_s = rng.expovariate(1.0 / spec.tool_s) if spec.tool_s else 0.0
    # A log-normal of mean 1: tools return a line or a whole file.
    factor = rng.lognormvariate(-(spec.spread**2) / 2, spec.spread) if spec.spread else 1.0
    tokens = max(1, min(spec.most_tokens, round(spec.tool_tokens * factor)))
    return Call(texts.fresh(tokens), spec.output_tokens, pause_s, helpers)
