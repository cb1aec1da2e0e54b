"""The keys of the cluster file, as frozen pydantic models.

`cluster.spec.cluster_file` reads them from YAML and reports every problem at once.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cluster.spec.launch_spec import LaunchSpec

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
PLAIN_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""A Ray label's plain value. In selectors Ray also accepts `!value` and `in(a,b)`, which this does not match."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
PriorityName = Literal["high", "normal", "low"]


class ClusterSettings(_Part):
    """Settings of the cluster as a whole.

    Attributes:
        name: name of the Serve application, shown in `rackserve status`.
        serve_port: Ray Serve's own HTTP port, for control and health checks only; apps never use it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = "rackserve"
    serve_port: Port = 8001


class TenantSpec(_Part):
    """One customer of the cluster, recognised by an API key.

    Attributes:
        name: name in metrics and logs.
        key_sha256: SHA-256 of the API key, 64 hex digits (`printf %s KEY | sha256sum`); the key itself is never kept.
        key_file: instead of `key_sha256`: a file on the gateways' nodes that holds the API key, such as one of a
            mounted Kubernetes Secret; it is read when a gateway starts.
        models: names of the models the tenant may use; unset: all.
        cache_salt: tenants with equal salts share cached prefixes, as do tenants without a salt. With a salt of its own
            nobody can learn what the tenant asked from how fast an answer comes.
        weight: share of a model's capacity relative to the other tenants' weights, while requests wait.
        priority: priority class of requests without an `x-priority` header.
        max_priority: the most urgent class that `x-priority` may ask for; unset: `priority`.
        requests_per_minute: limit in each gateway process, all models together; unset: no limit.
        tokens_per_minute: limit on estimated work in each gateway process, all models together, corrected when a
            request ends (see `router.flow_control.work`); unset: no limit.
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
    """The certificate of the apps' port.

    Attributes:
        cert_file: PEM file with the certificate chain, on the gateways' nodes; loaded again when it changes.
        key_file: PEM file with the private key, on the gateways' nodes; loaded again when it changes.
    """

    cert_file: Annotated[str, Field(min_length=1)]
    key_file: Annotated[str, Field(min_length=1)]


class GatewaySpec(_Part):
    """The gateways, which apps connect to.

    Attributes:
        host: address to listen on.
        port: port for apps, shared by the gateway processes of a node (SO_REUSEPORT); 0: any free port.
        admin_port: port of `/metrics` and `/state` for operators: the first gateway process of a node takes this port,
            the second the next one, and so on; 0: any free ports.
        replicas: gateway processes in the cluster, or `every_node`: `per_node` processes (unset: one) on each node with
            `node_labels`, also on nodes that join later.
        tls: certificate with which the apps' port speaks HTTPS; unset: plain HTTP.
        node_labels: Ray labels that a node must have, all of them, to run gateways; empty: any node may.
        per_node: most gateway processes on one node, counted for old and new ones separately during a rolling update;
            unset: no limit.
        max_body_bytes: bytes above which a request body is refused with 413.
        max_header_bytes: bytes above which a request head is refused with 431.
        header_timeout_s: seconds after which an incomplete request head is refused with 408.
        idle_timeout_s: seconds after which an idle keep-alive connection is closed.
        connect_timeout_s: seconds a replica may take to accept a connection; then another is tried.
        drain_timeout_s: seconds that a stopping gateway gives running responses to finish.
        max_waiting_requests: requests that may wait in one gateway process, all models together; more are refused with
            429 `queue_full`.
        max_waiting_bytes: bytes of request bodies that may wait in one gateway process, all models together; more are
            refused with 429 `queue_full`.
        tenants: customers who may use the cluster; empty: everybody, as one anonymous tenant.
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
    def _tenants_differ(self) -> Self:
        check_tenants_differ(self.tenants)
        return self


class ReplicaCount(_Part):
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


class AutoscalingSpec(_Part):
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


class Parallelism(_Part):
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


class SimSpec(_Part):
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
    """One model that apps can use.

    Attributes:
        name: name that apps put in `"model"`.
        source: a Hugging Face id, a folder, or a built-in name (`rackserve models list`).
        engine: `vllm`, or `sim`, which has the same API and simulates the timing.
        replicas: number of replicas.
        autoscaling: how the number follows the load where `replicas` is a range.
        parallel: how one replica is divided over GPUs.
        policy: how the gateway picks a replica; `NAME:exact` requires that every replica reports what its cache holds.
        engine_args: arguments for vLLM's `AsyncEngineArgs`, passed on unchanged.
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


class PlacementSpec(_Part):
    """How gangs (replicas of several GPUs) are placed.

    Attributes:
        spares_per_domain: nodes in each NVLink domain kept free for gangs that lost a node; at least one node of each
            domain stays open to other gangs.
    """

    spares_per_domain: Annotated[int, Field(ge=0, le=1024)] = 0


class ClusterSpec(_Part):
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
