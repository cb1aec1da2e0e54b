"""What is asked of a live endpoint: the streams of `rackserve simulate`, and what only a live endpoint has."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, ValidationError, model_validator

from cluster.errors import SpecError, SpecProblem
from deployments.twin.scenario_file import Count, StreamSpec, stream_of


class LiveStream(StreamSpec):
    """Requests of one kind to a live endpoint.

    With `turns` above 1 they are conversations: each request has what was said before, the endpoint's own answers
    included, as its beginning, and follows `think_s` after the answer. With `calls_most` they are agents.

    Attributes:
        calls_least: fewest calls of an agent.
        calls_most: most calls of an agent; 0: no agents. Each has its number of calls drawn evenly between the two.
        tool_s: mean seconds that a tool runs between two calls of an agent.
        tool_tokens: mean tokens that a tool returns.
        helpers: probability that a call of an agent is preceded by sub-agents, whose last answers go into it.
        helpers_at_once: how many of them run at once.
        helper_calls: calls of each.
    """

    calls_least: Annotated[int, Field(ge=1, le=10_000)] = 100
    calls_most: Annotated[int, Field(ge=0, le=10_000)] = 0
    tool_s: Annotated[float, Field(ge=0)] = 2.0
    tool_tokens: Count = 300
    helpers: Annotated[float, Field(ge=0, le=1)] = 0.02
    helpers_at_once: Annotated[int, Field(ge=1, le=64)] = 3
    helper_calls: Annotated[int, Field(ge=1, le=1000)] = 8

    @model_validator(mode="after")
    def _agents_call(self) -> Self:
        if self.calls_most and self.calls_most < self.calls_least:
            raise ValueError("calls_most must be calls_least or more")
        if self.calls_most and self.turns > 1:
            raise ValueError("an agent's calls are `calls_least` to `calls_most`; `turns` is for chats")
        return self


KINDS: Final[Mapping[str, Mapping[str, object]]] = {
    "chat": {"turns": 5.0, "prompt_tokens": 150, "output_tokens": 200, "prefixes": 8, "prefix_tokens": 1024},
    "agents": {
        "calls_least": 100,
        "calls_most": 500,
        "at_a_time": 4,
        "prompt_tokens": 400,
        "output_tokens": 120,
        "prefixes": 2,
        "prefix_tokens": 8192,
        "most_tokens": 120_000,
    },
    "long_context": {"prompt_tokens": 60_000, "output_tokens": 300, "rate": 0.1, "most_tokens": 1_000_000},
    "bursts": {"shape": "bursts", "burst_every_s": 20.0},
}
"""Loads by name: `kind=agents,rate=2` begins with these keys, and the others of `--load` replace them."""


def live_streams(texts: list[str]) -> list[LiveStream]:
    """Return the streams that `--load` options say, each as `key=value,…`.

    Raises:
        SpecError: an option is wrong; it has every mistake of all of them.
    """
    streams, problems = [], []
    for text in texts:
        try:
            streams.append(_stream(dict(stream_of(text))))
        except ValidationError as error:
            for mistake in error.errors():
                place = ".".join(str(part) for part in mistake["loc"])
                problems.append(SpecProblem(place or text, str(mistake["msg"]).removeprefix("Value error, ")))
        except ValueError as error:
            problems.append(SpecProblem(text, str(error)))
    if problems:
        raise SpecError("--load", problems)
    return streams


def _stream(keys: dict[str, Any]) -> LiveStream:
    kind = keys.pop("kind", None)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    return LiveStream.model_validate({**KINDS.get(kind, {}), **keys} if kind is not None else keys)
