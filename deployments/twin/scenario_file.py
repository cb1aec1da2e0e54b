"""The scenario file: the load on a simulated cluster, what happens to it, and what the cluster file does not say.

The cluster file says what serves; a scenario says what it is tried with. Both can be changed by themselves, so that two
cluster files are compared under one scenario.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from cluster.spec.checked_yaml import FileKind
from cluster.spec.parts.part import Part, Seconds
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.twin.engines.model_guess import ModelGuess

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0)]


class StreamSpec(Part):
    """Requests of one kind.

    Attributes:
        model: the model, or the adapter, that they ask for; "": the cluster file's first model.
        rate: requests a second, as a mean over the stream.
        shape: when they come: `poisson` at a steady rate; `even`, one after the same time; `bursts`, Poisson at a low
            rate with bursts of 2 to 5 times as much; `day`, Poisson whose rate rises and falls as a sine of 24 hours;
            `offline`, all at once at the start.
        burst_every_s: mean seconds between two bursts; each is 1/15 to 4/15 of that long.
        begin_s: when the first may come, seconds from the start.
        seconds: how long they come; for `offline` it does not count.
        requests: how many come at most; 0: as many as `seconds` brings.
        prompt_tokens: mean length of prompts; of conversations: of each message.
        output_tokens: mean length of answers.
        spread: standard deviation of the logarithms of both (log-normal lengths); 0: all are equally long.
        output_spread: the same for answers alone; unset: `spread`.
        most_tokens: longest prompt, and longest answer.
        prefixes: number of beginnings that prompts share, such as system prompts; the n-th is asked for 1/n as often
            as the first. 0: they share none.
        prefix_tokens: tokens of such a beginning. Single prompts have it in their length, and are at least one block
            longer; conversations begin with it, before their first message.
        turns: mean requests of a conversation; each has the one before, and its answer, as its beginning.
        think_s: mean seconds between an answer and the next request of its conversation.
        at_a_time: conversations (or single requests) under way at once; each place is taken by the next when one ends.
            0: they begin at their times, however many are under way.
        tenants: share of each tenant in the requests; empty: one anonymous tenant.
        priority: their class; unset: what the tenant's are.
    """

    model: str = ""
    rate: Annotated[float, Field(gt=0)] = 1.0
    shape: Literal["poisson", "even", "bursts", "day", "offline"] = "poisson"
    burst_every_s: Seconds = 900.0
    begin_s: Annotated[float, Field(ge=0)] = 0.0
    seconds: Seconds = 600.0
    requests: Annotated[int, Field(ge=0)] = 0
    prompt_tokens: Count = 2000
    output_tokens: Count = 250
    spread: Annotated[float, Field(ge=0, le=3)] = 0.8
    output_spread: Annotated[float, Field(ge=0, le=3)] | None = None
    most_tokens: Count = 32_000
    prefixes: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    prefix_tokens: Annotated[int, Field(ge=0)] = 1024
    turns: Annotated[float, Field(ge=1, le=1000)] = 1.0
    think_s: Seconds = 30.0
    at_a_time: Annotated[int, Field(ge=0, le=100_000)] = 0
    tenants: dict[str, Share] = Field(default_factory=dict)
    priority: Literal["high", "normal", "low"] | None = None

    @model_validator(mode="after")
    def _offline_has_a_number(self) -> Self:
        if self.shape == "offline" and not self.requests:
            raise ValueError("shape: offline needs `requests`, the number that come at once")
        return self


class EventSpec(Part):
    """Something that happens to the cluster, at one moment.

    Attributes:
        at_s: when, seconds from the start.
        lose: a node, domain or rack whose machines are gone; "": none.
        for_s: seconds after which they are back; 0: they stay away.
        update: a model whose replicas are all replaced by new ones, as by a changed cluster file; "": none.
    """

    at_s: Annotated[float, Field(ge=0)]
    lose: str = ""
    for_s: Annotated[float, Field(ge=0)] = 0.0
    update: str = ""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.lose) == bool(self.update):
            raise ValueError("an event has `lose` or `update`, and not both")
        return self


class ScenarioFile(Part):
    """A whole scenario file.

    Attributes:
        load: the requests; empty where a trace is given.
        events: what happens to the cluster.
        models: what the cluster file does not say of its models, by name.
        hardware: kind of GPU of pools that name none.
        gpu_hour: price of a GPU for an hour.
        currency: currency of that price.
        ttft_s: time to the first token that counts as in time; unset: the model's or tenant's `slo`.
        tpot_s: time per token that counts as in time; unset: as above.
        report_every_s: seconds between two load reports of a busy replica to each gateway.
        request_s: seconds of each request outside of engines and queues: network, gateway, the engine's HTTP server.
        block_tokens: tokens of a block of KV cache, by which prompts of a load are shared; traces have 512.
    """

    load: tuple[StreamSpec, ...] = ()
    events: tuple[EventSpec, ...] = ()
    models: dict[str, ModelGuess] = Field(default_factory=dict)
    hardware: str = ""
    gpu_hour: Annotated[float, Field(ge=0)] = 0.0
    currency: str = "USD"
    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    report_every_s: Annotated[float, Field(gt=0, le=10)] = 0.4
    request_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    block_tokens: Annotated[int, Field(ge=1, le=BLOCK_TOKENS)] = BLOCK_TOKENS

    def guess(self, model: str) -> ModelGuess:
        """Return what it says of a model."""
        return self.models.get(model, _NO_GUESS)


_NO_GUESS: Final = ModelGuess()

SCENARIO_FILE: Final = FileKind(
    name="scenario file", root=ScenarioFile, needs="it needs a load, or events, or what the cluster file does not say"
)


def stream_of(text: str) -> Mapping[str, object]:
    """Return the keys of a stream written as `key=value,key=value`; numbers are numbers.

    Raises:
        ValueError: a part has no `=`.
    """
    found: dict[str, object] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not key=value")
        try:
            found[key.strip()] = int(value)
        except ValueError:
            try:
                found[key.strip()] = float(value)
            except ValueError:
                found[key.strip()] = value.strip()
    return found
