"""The keys of the cluster file, as frozen pydantic models.

`cluster.spec.cluster_file` reads them from YAML and reports every problem at once.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.launch_spec import LaunchSpec
from cluster.spec.part import Part, Port, Seconds

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


class ClusterSettings(Part):
    """Settings of the cluster as a whole.

    Attributes:
        name: name of the Serve application, shown in `rackserve status`.
        serve_port: Ray Serve's own HTTP port, for health checks only; apps never use it. 0: it has none.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = "rackserve"
    serve_port: Port = 0


class ReplicaCount(Part):
    """Number of replicas of a model; a plain number `n` in YAML means `{min: n, max: n}`."""

    min: Annotated[int, Field(ge=0, le=4096)] = 1
    max: Annotated[int, Field(ge=1, le=4096)] = 1

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"min": value, "max": value}
        if isinstance(value, Mapping) and "max" not in value and isinstance(value.get("min"), int):
            return {**value, "max": max(1, value["min"])}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min} but max is {self.max}; min must not be above max")
        return self

    @property
    def is_autoscaled(self) -> bool:
        """Tell whether the number of replicas follows the load."""
        return self.min < self.max


class AutoscalingSpec(Part):
    """How a model is scaled whose `replicas` have a min below their max.

    Attributes:
        target_queue_seconds: seconds of work that may wait on a replica, on average, before more replicas are ordered.
        headroom: spare replicas for random peaks, as a multiple of the square root of the replicas that the load keeps
            busy.
        scale_down_after_seconds: seconds without need for a replica after which it is given back.
        scale_to_zero_after_seconds: seconds without any request after which the last replica is given back (min 0).
        expected_start_seconds: seconds that a replica's start is assumed to take until one has been measured.
        work_per_replica: tokens a second that a replica completes at its limit, prompt and generated ones as flow
            control counts them, from a plan or a load test; 0: measured when requests first have to wait.
    """

    target_queue_seconds: Seconds = 1.0
    headroom: Annotated[float, Field(ge=0, le=100)] = 0.4
    scale_down_after_seconds: Seconds = 300.0
    scale_to_zero_after_seconds: Seconds = 300.0
    expected_start_seconds: Seconds = 60.0
    work_per_replica: Annotated[float, Field(ge=0)] = 0.0


class Parallelism(Part):
    """How one replica is divided over GPUs: it takes `tensor * pipeline * data` of them.

    Attributes:
        tensor: GPUs that share each layer's matrices.
        pipeline: stages that the layers are divided into.
        data: ranks that compute attention for different sequences and share the experts of a mixture.
        expert: GPUs over which a layer's whole experts are distributed: all `tensor * data` of a stage; 1: every expert
            is split over the `tensor` GPUs.
    """

    tensor: Annotated[int, Field(ge=1, le=1024)] = 1
    pipeline: Annotated[int, Field(ge=1, le=128)] = 1
    data: Annotated[int, Field(ge=1, le=1024)] = 1
    expert: Annotated[int, Field(ge=1, le=4096)] = 1

    @model_validator(mode="after")
    def _experts_take_a_stage(self) -> Self:
        stage = self.tensor * self.data
        if self.expert not in {1, stage}:
            raise ValueError(
                f"expert is {self.expert}, but experts are dealt to all tensor * data = {stage} GPUs of a stage; "
                f"give {stage}, or leave it out"
            )
        return self

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline * self.data

    @property
    def experts_whole(self) -> bool:
        """Whether each GPU holds whole experts."""
        return self.expert > 1


class SimSpec(Part):
    """Timing and memory of the simulated engine.

    Attributes:
        prefill_tokens_per_s: prompt tokens prefilled a second.
        inter_token_s: seconds of a decode step with one sequence.
        inter_token_per_seq_s: seconds that each further sequence adds to a decode step.
        max_num_seqs: sequences decoded at once; more wait.
        kv_blocks: KV-cache capacity, blocks.
        block_tokens: tokens in one KV block.
        prefix_caching: whether blocks stay cached for later prompts with the same prefix.
        chars_per_token: prompt characters counted as one token.
        answer_tokens: mean tokens of a chat answer; each answer has between 0.5 and 1.5 times this number.
        start_s: seconds the engine takes to start.
        kv_bytes_per_token: bytes of KV cache that a prompt token takes when it is handed to another engine. The default
            is that of Llama 3.1 8B in bf16: keys and values of 8 heads of 128 in 32 layers, 2 bytes each.
        transfer_bytes_per_s: bytes of KV cache that an engine fetches a second from another; the default is 100 Gbit/s.
        transfer_lease_s: seconds that a computed prompt is kept for an engine that does not fetch it; vLLM's default.
    """

    prefill_tokens_per_s: Annotated[float, Field(gt=0)] = 20_000.0
    inter_token_s: Annotated[float, Field(ge=0)] = 0.01
    inter_token_per_seq_s: Annotated[float, Field(ge=0)] = 0.0002
    max_num_seqs: Annotated[int, Field(ge=1)] = 256
    kv_blocks: Annotated[int, Field(ge=1)] = 4096
    block_tokens: Annotated[int, Field(ge=1)] = 32
    prefix_caching: bool = True
    chars_per_token: Annotated[float, Field(ge=1)] = 4.0
    answer_tokens: Annotated[int, Field(ge=1)] = 128
    start_s: Annotated[float, Field(ge=0)] = 0.0
    kv_bytes_per_token: Annotated[int, Field(ge=1)] = 131_072
    transfer_bytes_per_s: Annotated[float, Field(gt=0)] = 12.5e9
    transfer_lease_s: Annotated[float, Field(gt=0)] = 30.0


class ModelSpec(Part):
    """One model that apps can use.

    Attributes:
        name: name that apps put in `"model"`.
        source: a Hugging Face id, a folder, or a built-in name (`rackserve models list`).
        engine: `vllm`, or `sim`, which has the same API and simulates the timing.
        replicas: number of replicas.
        autoscaling: how the number follows the load where `replicas` is a range.
        parallel: how one replica is divided over GPUs.
        policy: how the gateway picks a replica; `NAME:exact` requires that every replica reports what its cache holds.
        engine_args: arguments for vLLM's `AsyncEngineArgs`, passed on unchanged; the simulated engine reads `runner`.
        env: environment variables of the replica's process.
        sim: settings of the simulated engine.
        cpus: CPU cores that Ray reserves for a replica.
        gpus_per_replica: logical GPUs that Ray reserves for a replica of one rank; unset: 1 for vLLM on a GPU node, 0
            on a CPU. A replica of several ranks takes one for each rank; 0: none, and all ranks run on one machine.
        accelerator: kind of GPU it needs, a value of the label `ray.io/accelerator-type`; unset: any.
        node_group: node group to grow when a replica fits nowhere, a value of the label `ray.io/node-group`; unset:
            any.
        start_timeout_s: seconds after which a replica that is not ready is started anew.
        request_timeout_s: seconds without a byte from the replica after which a request has failed.
        max_wait_s: longest wait in the gateway, seconds: a request that would wait longer is refused with 429
            `deadline`; the header `x-request-timeout-ms` sets it for one request.
        cold_start_timeout_s: seconds that requests are held for the first replica while the model has none; 0: they are
            refused at once with 503 `no_replica`.
        drain_timeout_s: seconds that a stopping replica gives running requests to finish.
    """

    name: str
    source: str = ""
    engine: Literal["vllm", "sim"] = "vllm"
    replicas: ReplicaCount = ReplicaCount()
    autoscaling: AutoscalingSpec = AutoscalingSpec()
    parallel: Parallelism = Parallelism()
    policy: str = "expected_ttft"
    engine_args: dict[str, Any] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    sim: SimSpec = SimSpec()
    cpus: Annotated[float, Field(ge=0)] = 1.0
    gpus_per_replica: Annotated[float, Field(ge=0)] | None = None
    accelerator: str = ""
    node_group: str = ""
    start_timeout_s: Seconds = 1800.0
    request_timeout_s: Seconds = 600.0
    max_wait_s: Seconds = 60.0
    cold_start_timeout_s: Annotated[float, Field(ge=0)] = 600.0
    drain_timeout_s: Seconds = 120.0

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        if not MODEL_NAME.fullmatch(value):
            raise ValueError("letters, digits and . _ : / - only, starting with a letter or digit, at most 128")
        return value

    @model_validator(mode="after")
    def _vllm_has_a_source(self) -> Self:
        if self.engine == "vllm" and not self.source:
            raise ValueError("source is missing: a Hugging Face id, a folder or a built-in name")
        return self


class PlacementSpec(Part):
    """How gangs (replicas of several GPUs) are placed.

    Attributes:
        spares_per_domain: nodes in each NVLink domain kept free for gangs that lost a node; at least one node of each
            domain stays open to other gangs.
    """

    spares_per_domain: Annotated[int, Field(ge=0, le=1024)] = 0


class ClusterSpec(Part):
    """A whole cluster file.

    Attributes:
        cluster: settings of the cluster as a whole.
        gateway: the gateways, which apps connect to.
        placement: how gangs are placed.
        models: the models that apps can use.
        launch: the machines that `rackserve up` starts Ray on; other commands do not need it.
    """

    cluster: ClusterSettings = ClusterSettings()
    gateway: GatewaySpec = GatewaySpec()
    placement: PlacementSpec = PlacementSpec()
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1)]
    launch: LaunchSpec | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are named {twice[0]!r}; each name must be unique")
        return self

    def model(self, name: str) -> ModelSpec:
        """Return the model called `name`.

        Raises:
            KeyError: there is no model of that name.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)
