"""The plan file: what `rackserve plan` is asked, as YAML.

model: llama-3.1-70b          # known by name, or the path of a config.json or of its folder
hardware: h100
workload: {input_tokens: 3000, output_tokens: 400, requests_per_s: 12, prefix_hit: 0.4}
slo: {ttft_s: 1.0, tpot_s: 0.04}
price: {gpu_hour: 2.5}
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cluster.planning.cost_model import Work
from cluster.planning.hardware import ACCELERATORS
from cluster.planning.memory import USABLE_SHARE
from cluster.spec.checked_yaml import FileKind
from cluster.spec.yaml_tree import Location

PrecisionName = Literal["bf16", "fp8", "int8", "nvfp4", "mxfp4", "int4"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workload(_Part):
    """What apps will ask for.

    Attributes:
        input_tokens: mean length of a prompt.
        output_tokens: mean length of an answer.
        requests_per_s: at the busiest time.
        prefix_hit: share of a prompt that the prefix cache is expected to hold.
        output_spread: standard deviation of the answers' lengths over their mean.
    """

    input_tokens: Annotated[int, Field(ge=1)]
    output_tokens: Annotated[int, Field(ge=1)]
    requests_per_s: Annotated[float, Field(gt=0)]
    prefix_hit: Annotated[float, Field(ge=0, le=1)] = 0.0
    output_spread: Annotated[float, Field(ge=0, le=10)] = 0.0

    @property
    def work(self) -> Work:
        """What one request asks for."""
        return Work(self.input_tokens, self.output_tokens, self.prefix_hit, self.output_spread)


class Slo(_Part):
    """How quick answers must be, on average at the planned load.

    Attributes:
        ttft_s: time to the first token.
        tpot_s: time between tokens.
    """

    ttft_s: Annotated[float, Field(gt=0)]
    tpot_s: Annotated[float, Field(gt=0)]


class Price(_Part):
    """What hardware costs.

    Attributes:
        gpu_hour: of one GPU for an hour.
        currency: shown beside it.
    """

    gpu_hour: Annotated[float, Field(gt=0)]
    currency: Annotated[str, Field(min_length=1, max_length=8)] = "USD"


class Limits(_Part):
    """What the plan may use.

    Attributes:
        load: share of a replica's capacity planned for, so that bursts find room.
        gpus_per_replica: the largest gang considered; unset: two domains, and at least 16 GPUs.
        batch: running sequences of one engine; unset: vLLM's default (1 024 on GPUs of 70 GiB and more, else 256).
        step_tokens: tokens of the largest step (vLLM's `max_num_batched_tokens`); unset: the plan finds the best.
        memory_share: of a GPU's memory (vLLM's `gpu_memory_utilization`).
    """

    load: Annotated[float, Field(gt=0, le=1)] = 0.8
    gpus_per_replica: Annotated[int, Field(ge=1, le=4096)] | None = None
    batch: Annotated[int, Field(ge=1, le=65536)] | None = None
    step_tokens: Annotated[int, Field(ge=16)] | None = None
    memory_share: Annotated[float, Field(gt=0, le=1)] = USABLE_SHARE


class PlanFile(_Part):
    """A whole plan file.

    Attributes:
        model: known by name (`cluster.planning.known_models`), or the path of a `config.json` or of its folder.
        hardware: an accelerator's name (`cluster.planning.hardware`).
        workload: what apps will ask for.
        slo: how quick answers must be.
        precisions: number formats the weights may be served in; none: as the checkpoint has them.
        kv_precision: of the KV cache.
        price: unset: costs are not computed.
        limits: what the plan may use.
    """

    model: Annotated[str, Field(min_length=1)]
    hardware: str
    workload: Workload
    slo: Slo
    precisions: tuple[PrecisionName, ...] = ()
    kv_precision: Literal["bf16", "fp8"] = "bf16"
    price: Price | None = None
    limits: Limits = Limits()

    @field_validator("hardware")
    @classmethod
    def _hardware_is_known(cls, value: str) -> str:
        if value not in ACCELERATORS:
            raise ValueError(unknown_hardware(value))
        return value


def unknown_hardware(name: str) -> str:
    """Return what to say of an accelerator's name that is not known."""
    close = difflib.get_close_matches(name.lower(), ACCELERATORS, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(ACCELERATORS)}"
    return f"unknown accelerator {name!r}; {hint}"


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    hardware, precisions = data.get("hardware"), data.get("precisions")
    if isinstance(hardware, str) and hardware not in ACCELERATORS:
        yield ("hardware",), unknown_hardware(hardware)
    if isinstance(precisions, list):
        for position, name in enumerate(precisions):
            if name in precisions[:position]:
                yield ("precisions", position), f"{name!r} stands twice; keep one"


PLAN_FILE: Final = FileKind(
    name="plan file",
    root=PlanFile,
    needs="it needs a model, hardware, workload and slo",
    rules=_rules,
)
