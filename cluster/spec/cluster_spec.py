"""The cluster file's shape: what an operator asks for, as frozen pydantic models.

`cluster.spec.cluster_file` reads it from YAML and reports every problem at once.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cluster.spec.launch_spec import LaunchSpec

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
PLAIN_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""A Ray label's value; in selectors Ray also knows `!value` and `in(a,b)`."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
PriorityName = Literal["high", "normal", "low"]


class ClusterSettings(_Part):
    """The cluster as a whole.

    Attributes:
        name: shows in `rackserve status` and names the Serve application.
        serve_port: Ray Serve's own HTTP port (control and health checks only; apps never use it).
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = "rackserve"
    serve_port: Port = 8001


class TenantSpec(_Part):
    """One customer of the cluster, known by an API key.

    Attributes:
        name: shows in metrics and logs.
        key_sha256: SHA-256 of the API key, 64 hex digits (`printf %s KEY | sha256sum`): the key itself is never kept.
        key_file: instead of `key_sha256`: a file on the gateways' nodes that holds the API key, such as one of a
            mounted Kubernetes Secret; read when a gateway starts.
        models: the models it may use; unset: all.
        cache_salt: unset: shares cached prefixes with others; else only with tenants of the same salt, so that nobody
            learns from an answer's speed what others have asked.
        weight: its share of a model's capacity against the other tenants' while requests wait.
        priority: the class of its requests that ask for none by `x-priority`.
        max_priority: the most urgent class they may ask for; unset: `priority`.
        requests_per_minute: in each gateway process, all models together; unset: no limit.
        tokens_per_minute: likewise, in estimated work, corrected when a request ends; see `router.flow_control.work`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    key_file: str = ""
    models: tuple[str, ...] | None = None
    cache_salt: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    priority: PriorityName = "normal"
    max_priority: PriorityName | None = None
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if (self.key_sha256 is None) == (not self.key_file):
            raise ValueError(f"tenant {self.name!r}: give its key as key_sha256 or as key_file, one of the two")
        return self


def check_tenants_differ(tenants: Iterable[TenantSpec]) -> None:
    """Check that no two tenants have the same name or key.

    Raises:
        ValueError: two have; the message says which.
    """
    known = list(tenants)
    for what, values in (
        ("named", [tenant.name for tenant in known]),
        ("known by the key_sha256", [tenant.key_sha256 for tenant in known if tenant.key_sha256]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"two tenants are {what} {twice[0]!r}; each must have its own")


class TlsSpec(_Part):
    """The certificate of the apps' port: PEM files on the gateways' nodes, taken anew when they change."""

    cert_file: Annotated[str, Field(min_length=1)]
    key_file: Annotated[str, Field(min_length=1)]


class GatewaySpec(_Part):
    """The gateways: where apps connect.

    Attributes:
        host: the address to listen on.
        port: the apps' port; 0 takes a free one. Gateway processes of one node share it (SO_REUSEPORT).
        admin_port: `/metrics` and `/state` for operators; the k-th gateway process of a node takes the k-th port from
            here; 0 takes free ones.
        replicas: gateway processes in the cluster; `every_node`: `per_node` of them (unset: one) on each node with
            `node_labels`, as such nodes come and go.
        tls: the apps' port speaks HTTPS with this certificate; unset: plain HTTP.
        node_labels: only nodes with all of these Ray labels run gateways; none: any node.
        per_node: at most so many gateway processes on one node, and as many new ones while an update rolls; unset: no
            limit.
        max_body_bytes: larger request bodies are refused with 413.
        max_header_bytes: larger request heads are refused with 431.
        header_timeout_s: a head that takes longer is refused with 408.
        idle_timeout_s: an idle keep-alive connection is closed after this long.
        connect_timeout_s: a replica that does not accept within this long is passed over.
        drain_timeout_s: a stopping gateway lets running responses finish for this long.
        max_waiting_requests: so many requests wait in one gateway process at the most, all models together; more are
            refused with 429 `queue_full`.
        max_waiting_bytes: likewise, the bodies of those that wait.
        tenants: who may use the cluster; none: everybody, as one anonymous tenant.
    """

    host: str = "0.0.0.0"  # noqa: S104 - apps come from other machines
    port: Port = 8000
    admin_port: Port = 8002
    replicas: Annotated[int, Field(ge=1, le=256)] | Literal["every_node"] = 1
    tls: TlsSpec | None = None
    node_labels: dict[str, str] = Field(default_factory=dict)
    per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    max_body_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    max_header_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = 64 * 1024
    header_timeout_s: Seconds = 30.0
    idle_timeout_s: Seconds = 75.0
    connect_timeout_s: Seconds = 3.0
    drain_timeout_s: Seconds = 30.0
    max_waiting_requests: Annotated[int, Field(ge=0)] = 10_000
    max_waiting_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024 * 1024
    tenants: tuple[TenantSpec, ...] = ()

    @model_validator(mode="after")
    def _nodes_can_be_counted(self) -> Self:
        unclear = sorted(key for key, value in self.node_labels.items() if not PLAIN_LABEL.fullmatch(value))
        if self.replicas == "every_node" and unclear:
            raise ValueError(
                f"node_labels: {unclear[0]} is {self.node_labels[unclear[0]]!r}, but with replicas: every_node "
                "each label must have one plain value"
            )
        return self

    @model_validator(mode="after")
    def _tenants_are_told_apart(self) -> Self:
        check_tenants_differ(self.tenants)
        return self


class ReplicaCount(_Part):
    """How many replicas of a model; a plain number `n` in YAML means `{min: n, max: n}`."""

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
        """Tell whether their number follows the load."""
        return self.min < self.max


class AutoscalingSpec(_Part):
    """How a model whose `replicas` have a min below their max is scaled.

    Attributes:
        target_queue_seconds: seconds of work that may wait, on average, before more replicas are ordered.
        headroom: spare replicas against chance, in square roots of the replicas that the load keeps busy.
        scale_down_after_seconds: replicas are given back once they were not needed for so long.
        scale_to_zero_after_seconds: the last one (min 0), once there was nothing at all to do for so long.
        expected_start_seconds: how long a start is thought to take before one has been seen.
        work_per_replica: tokens a second one replica gets done at its limit, prompt tokens and generated ones as
            admission counts them, from a plan or a load test; 0: found out when requests first have to wait.
    """

    target_queue_seconds: Seconds = 1.0
    headroom: Annotated[float, Field(ge=0, le=100)] = 0.4
    scale_down_after_seconds: Seconds = 300.0
    scale_to_zero_after_seconds: Seconds = 300.0
    expected_start_seconds: Seconds = 60.0
    work_per_replica: Annotated[float, Field(ge=0)] = 0.0


class Parallelism(_Part):
    """How one replica is cut over GPUs: `tensor * pipeline * data` GPUs a replica.

    Attributes:
        tensor: GPUs that share each layer's matrices.
        pipeline: stages the layers are dealt to.
        data: ranks that attend to sequences of their own and share a mixture's experts.
        expert: GPUs that a layer's experts are dealt to whole: all `tensor * data` of a stage; 1: each expert is cut.
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
        """GPUs one replica takes."""
        return self.tensor * self.pipeline * self.data

    @property
    def experts_whole(self) -> bool:
        """Whether GPUs hold whole experts."""
        return self.expert > 1


class SimSpec(_Part):
    """The simulated engine's timing and memory.

    Attributes:
        prefill_tokens_per_s: prompt tokens the engine works off a second.
        inter_token_s: time of one decode step with one sequence.
        inter_token_per_seq_s: what each further sequence in the batch adds to a step.
        max_num_seqs: sequences decoded at once; more wait.
        kv_blocks: KV-cache capacity, in blocks.
        block_tokens: tokens in one KV block.
        prefix_caching: blocks stay for the next prompt that begins alike.
        chars_per_token: characters of prompt one token stands for.
        answer_tokens: length of a typical chat answer; each is from half to one and a half times that.
        start_s: how long the engine takes to start.
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


class ModelSpec(_Part):
    """One model that apps can name.

    Attributes:
        name: what apps put in `"model"`.
        source: a Hugging Face id, a folder, or a built-in name (`rackserve models list`).
        engine: `vllm`, or `sim`: the same surface with simulated timing.
        replicas: how many.
        autoscaling: how their number follows the load, where `replicas` leaves it a choice.
        parallel: how one replica is cut over GPUs.
        policy: how the gateway picks a replica; `NAME:exact`: only where every replica tells what its cache holds.
        engine_args: passed to vLLM's `AsyncEngineArgs` as they are.
        env: environment variables of the replica's process.
        sim: the simulated engine's settings.
        cpus: CPU cores Ray reserves for a replica.
        gpus_per_replica: logical GPUs Ray reserves for a replica of one rank; unset: 1 for vLLM on a GPU node, 0 on a
            CPU. Replicas of several ranks take one for each; 0: none, and all ranks run on one machine.
        accelerator: the kind of GPU it needs, as `ray.io/accelerator-type` labels it; unset: any.
        node_group: the group of machines to grow when it fits nowhere, as `ray.io/node-group` labels them; unset: any.
        start_timeout_s: a replica that is not ready after this long is started anew.
        request_timeout_s: a replica that sends nothing for this long has failed the request.
        max_wait_s: a request that would wait longer in the gateway is refused with 429 `deadline`; one that brings
            `x-request-timeout-ms` goes by that.
        cold_start_timeout_s: while the model has no replica at all, requests are held so long for the first one; 0:
            they are refused at once with 503 `no_replica`.
        drain_timeout_s: a replica asked to stop lets running requests finish for this long.
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


class PlacementSpec(_Part):
    """Where gangs (replicas of several GPUs) go.

    Attributes:
        spares_per_domain: nodes of each NVLink domain kept free for gangs that lost a node; a domain keeps at least one
            node for others.
    """

    spares_per_domain: Annotated[int, Field(ge=0, le=1024)] = 0


class ClusterSpec(_Part):
    """A whole cluster file; `launch` is what `rackserve up` needs."""

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
            KeyError: there is none.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)
