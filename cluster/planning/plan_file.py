"""The plan file: the question to `rackserve plan`, as YAML.

model: llama-3.1-70b          # known by name, or the path of a config.json or of its folder
hardware: h100
workload: {input_tokens: 3000, output_tokens: 400, requests_per_s: 12, prefix_hit: 0.4}
slo: {ttft_s: 1.0, tpot_s: 0.04}
price: {gpu_hour: 2.5}
"""

import difflib
from collections.abc import Iterator, Mapping
from math import inf
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cluster.adapter_room.adapter_plan import AdapterPlan
from cluster.kv_tiers.offload_plan import OffloadPlan
from cluster.replica_cost.cost_model import Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.memory import USABLE_SHARE
from cluster.replica_cost.speculation import SpeculativePlan
from cluster.spec.checked_yaml import FileKind
from cluster.spec.model_parts.task import Task
from cluster.spec.yaml_tree import Location

PrecisionName = Literal["bf16", "fp8", "int8", "nvfp4", "mxfp4", "int4"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workload(_Part):
    """The load that apps will bring.

    Attributes:
        input_tokens: mean length of a prompt, tokens.
        output_tokens: mean length of an answer, tokens; unset where the task generates none.
        requests_per_s: requests a second at the busiest time.
        prefix_hit: share of a prompt's tokens expected in the prefix cache, 0 to 1.
        output_spread: standard deviation of the answers' lengths divided by their mean.
        input_spread: standard deviation of the prompts' uncached lengths divided by their mean; it counts where
            `slo.share` is set.
    """

    input_tokens: Annotated[int, Field(ge=1)]
    output_tokens: Annotated[int, Field(ge=1)] | None = None
    requests_per_s: Annotated[float, Field(gt=0)]
    prefix_hit: Annotated[float, Field(ge=0, le=1)] = 0.0
    output_spread: Annotated[float, Field(ge=0, le=10)] = 0.0
    input_spread: Annotated[float, Field(ge=0, le=10)] = 0.0

    @property
    def work(self) -> Work:
        """Mean tokens of one request."""
        return Work(self.input_tokens, self.output_tokens or 0, self.prefix_hit, self.output_spread, self.input_spread)


class Slo(_Part):
    """Latencies that must hold at the planned load.

    Attributes:
        ttft_s: time to the first token, seconds; to the whole answer where the task generates no tokens.
        tpot_s: mean time between two output tokens of an answer, seconds; unset where there are none.
        share: share of the requests that each of the two must hold for, such as 0.95; unset: their means must hold.
    """

    ttft_s: Annotated[float, Field(gt=0)]
    tpot_s: Annotated[float, Field(gt=0)] | None = None
    share: Annotated[float, Field(ge=0.5, lt=1)] | None = None

    @property
    def most_tpot_s(self) -> float:
        """The limit on the time between two tokens; infinite: there is none."""
        return inf if self.tpot_s is None else self.tpot_s


class Price(_Part):
    """Price of the hardware.

    Attributes:
        gpu_hour: price of one GPU for an hour.
        currency: currency shown with costs.
    """

    gpu_hour: Annotated[float, Field(gt=0)]
    currency: Annotated[str, Field(min_length=1, max_length=8)] = "USD"


class Limits(_Part):
    """Limits of the plan.

    Attributes:
        load: share of a replica's capacity to plan for, 0 to 1; the rest is room for bursts.
        gpus_per_replica: GPUs of the largest gang considered; unset: two domains, at least 16.
        batch: most sequences that one engine runs at once; unset: vLLM's default (1 024 on GPUs of 70 GiB or more, else
            256).
        step_tokens: tokens of the largest step (vLLM's `max_num_batched_tokens`); unset: the plan finds the best.
        memory_share: share of a GPU's memory that may be used (vLLM's `gpu_memory_utilization`).
    """

    load: Annotated[float, Field(gt=0, le=1)] = 0.8
    gpus_per_replica: Annotated[int, Field(ge=1, le=4096)] | None = None
    batch: Annotated[int, Field(ge=1, le=65536)] | None = None
    step_tokens: Annotated[int, Field(ge=16)] | None = None
    memory_share: Annotated[float, Field(gt=0, le=1)] = USABLE_SHARE


class MachineSizes(_Part):
    """What a machine has beside its GPUs.

    Attributes:
        memory_gb: host memory, gigabytes of 10⁹ bytes; unset: that of the maker's own machine.
        disk_gb: disks for checkpoints and KV cache; unset: those of the maker's own machine.
    """

    memory_gb: Annotated[float, Field(gt=0)] | None = None
    disk_gb: Annotated[float, Field(gt=0)] | None = None


class PlanFile(_Part):
    """A whole plan file.

    Attributes:
        model: a name in `cluster.model_shapes.known_models`, or the path of a `config.json` or of its folder.
        hardware: name of an accelerator in `cluster.replica_cost.hardware`.
        task: what the model is for. All but `generate` answer once a prompt is computed, so only `ttft_s` counts.
        workload: the load that apps will bring.
        slo: mean latencies that must hold.
        precisions: number formats in which the weights may be served; empty: the checkpoint's own.
        kv_precision: number format of the KV cache.
        speculative: speculative decoding that the plan uses where it serves more, and how often drafts are right.
        adapters: LoRA adapters that each replica is to have room for, and that every request uses; unset: none.
        offload: KV cache that each replica keeps beyond the GPUs' memory, where it pays; unset: none.
        machine: what each machine has beside its GPUs; unset: what its kind has.
        price: price of the hardware; unset: costs are not computed.
        limits: limits of the plan.
    """

    model: Annotated[str, Field(min_length=1)]
    hardware: str
    task: Task = Task.GENERATE
    workload: Workload
    slo: Slo
    precisions: tuple[PrecisionName, ...] = ()
    kv_precision: Literal["bf16", "fp8"] = "bf16"
    speculative: SpeculativePlan | None = None
    adapters: AdapterPlan | None = None
    offload: OffloadPlan | None = None
    machine: MachineSizes = MachineSizes()
    price: Price | None = None
    limits: Limits = Limits()

    @field_validator("hardware")
    @classmethod
    def _hardware_is_known(cls, value: str) -> str:
        if value not in ACCELERATORS:
            raise ValueError(unknown_hardware(value))
        return value


def unknown_hardware(name: str) -> str:
    """Return the error message for an unknown accelerator name, with the closest known one."""
    close = difflib.get_close_matches(name.lower(), ACCELERATORS, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(ACCELERATORS)}"
    return f"unknown accelerator {name!r}; {hint}"


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    hardware, precisions = data.get("hardware"), data.get("precisions")
    workload, offload = data.get("workload"), data.get("offload")
    if isinstance(workload, Mapping) and isinstance(offload, Mapping):
        found = [part.get(key, 0) for part, key in ((workload, "prefix_hit"), (offload, "hit"))]
        if all(isinstance(share, int | float) for share in found) and sum(found) > 1:
            yield (
                ("offload", "hit"),
                f"{found[1]:g} of a prompt below the GPUs and {found[0]:g} on them (workload.prefix_hit) exceed it",
            )
    yield from _rules_of_the_task(data)
    if isinstance(hardware, str) and hardware not in ACCELERATORS:
        yield ("hardware",), unknown_hardware(hardware)
    if isinstance(precisions, list):
        for position, name in enumerate(precisions):
            if name in precisions[:position]:
                yield ("precisions", position), f"{name!r} stands twice; keep one"


_OF_ANSWERS: Final = (("workload", "output_tokens"), ("slo", "tpot_s"))
"""Keys that a plan needs of a model that generates, and that say nothing of one that does not."""


def _rules_of_the_task(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    task = data.get("task", Task.GENERATE)
    generates = task == Task.GENERATE
    for part, key in _OF_ANSWERS:
        section = data.get(part)
        if isinstance(section, Mapping) and generates and section.get(key) is None:
            yield (part, key), "missing: a model that generates needs it"
        elif isinstance(section, Mapping) and not generates and section.get(key) is not None:
            yield (part, key), f"says nothing of task: {task}, which generates no tokens; leave it out"
    if not generates and data.get("speculative") is not None:
        yield ("speculative",), f"task: {task} generates no tokens that could be drafted; leave it out"


PLAN_FILE: Final = FileKind(
    name="plan file",
    root=PlanFile,
    needs="it needs a model, hardware, workload and slo",
    rules=_rules,
)
