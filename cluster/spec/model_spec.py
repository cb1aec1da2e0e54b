"""One model of the cluster file, and what each of its pools runs."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from cluster.spec.kv_duties import KvDuties
from cluster.spec.model_parts.adapter_spec import DEFAULT_SLOTS, AdapterSpec
from cluster.spec.model_parts.kv_cache_spec import KvCacheSpec
from cluster.spec.model_parts.media_spec import MediaSpec
from cluster.spec.model_parts.model_name import checked_name
from cluster.spec.model_parts.parallelism import Parallelism
from cluster.spec.model_parts.planned_spec import PlannedSpec
from cluster.spec.model_parts.scaling_spec import AutoscalingSpec, ReplicaCount
from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_parts.slo_spec import SloSpec
from cluster.spec.model_parts.speculative_spec import NO_SPECULATION, SpeculativeSpec
from cluster.spec.model_parts.task import Task
from cluster.spec.parts.part import Part, Seconds
from cluster.spec.pool_spec import OVERRIDDEN, PoolSpec
from cluster.spec.role import Role

PartT = TypeVar("PartT", bound=Part)


class ModelSpec(Part):
    """One model that apps can use.

    Its replicas are one pool, or several (`pools`). What the model says is then what each pool has by default: of
    `replicas: 2` and two pools come four replicas, unless a pool says another number.

    Attributes:
        name: name that apps put in `"model"`.
        source: a Hugging Face id, a folder, or a built-in name (`rackserve models list`).
        engine: `vllm`, or `sim`, which has the same API and simulates the timing.
        task: what it is served for: `generate`, `embed`, `classify` or `score`; unset: what its checkpoint is made for.
            All but `generate` are routed by load alone, and requests of another kind are refused with 400.
        replicas: number of replicas; with `pools`, of each pool that gives none.
        autoscaling: how the number follows the load where `replicas` is a range.
        parallel: how one replica is divided over GPUs.
        policy: how the gateway picks a replica; `NAME:exact` requires that every replica reports what its cache holds.
        engine_args: arguments for vLLM's `AsyncEngineArgs`, passed on unchanged; the simulated engine reads `runner`.
        reasoning_parser: vLLM's parser that takes an answer's reasoning out of its text; `auto`: the one of the model's
            family, if it has one; `none`: none.
        tool_call_parser: vLLM's parser that finds tool calls in an answer; `auto` and `none` as above.
        chat_template: a Jinja template, as text or as a file's path; "": the model's own.
        media: what of images, audio and video prompts may bring along, and from where.
        env: environment variables of the replica's process.
        sim: settings of the simulated engine.
        speculative: how tokens are drafted before the model verifies several in one step; unset: they are not.
        kv_cache: precision of the KV cache, and where its blocks are kept that leave the GPU.
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
        adapters: LoRA adapters of the model, each a model of its own to apps. They may change while the model runs.
        adapter_slots: adapters that each replica can have loaded at once; 0: 4 where `adapters` lists some, else none.
            A number above 0 lets adapters be added later to a model that begins with none.
        adapter_rank: highest rank of an adapter; memory for `adapter_slots` of this rank is taken at the start.
        slo: latencies that requests are to have; the headers `x-slo-ttft-ms` and `x-slo-tpot-ms` set them for one.
        planned: what each replica was planned to do; what it does is compared with it.
        pools: pools of equal replicas, each with what it has of its own; none: the model is one pool without a name.
    """

    name: str
    source: str = ""
    engine: Literal["vllm", "sim"] = "vllm"
    task: Task | None = None
    replicas: ReplicaCount = ReplicaCount()
    autoscaling: AutoscalingSpec = AutoscalingSpec()
    parallel: Parallelism = Parallelism()
    policy: str = "expected_ttft"
    engine_args: dict[str, Any] = Field(default_factory=dict)
    reasoning_parser: Annotated[str, Field(min_length=1)] = "auto"
    tool_call_parser: Annotated[str, Field(min_length=1)] = "auto"
    chat_template: str = ""
    media: MediaSpec = MediaSpec()
    env: dict[str, str] = Field(default_factory=dict)
    sim: SimSpec = SimSpec()
    speculative: SpeculativeSpec = NO_SPECULATION
    kv_cache: KvCacheSpec = KvCacheSpec()
    cpus: Annotated[float, Field(ge=0)] = 1.0
    gpus_per_replica: Annotated[float, Field(ge=0)] | None = None
    accelerator: str = ""
    node_group: str = ""
    start_timeout_s: Seconds = 1800.0
    request_timeout_s: Seconds = 600.0
    max_wait_s: Seconds = 60.0
    cold_start_timeout_s: Annotated[float, Field(ge=0)] = 600.0
    drain_timeout_s: Seconds = 120.0
    adapters: tuple[AdapterSpec, ...] = ()
    adapter_slots: Annotated[int, Field(ge=0, le=1024)] = 0
    adapter_rank: Annotated[int, Field(ge=1, le=512)] = 16
    slo: SloSpec = SloSpec()
    planned: PlannedSpec = PlannedSpec()
    pools: tuple[PoolSpec, ...] = ()

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        return checked_name(value)

    @model_validator(mode="after")
    def _vllm_has_a_source(self) -> Self:
        if self.engine == "vllm" and not self.source:
            raise ValueError("source is missing: a Hugging Face id, a folder or a built-in name")
        return self

    def in_pools(self) -> tuple["ModelSpec", ...]:
        """Return the model as each of its pools runs it, in the file's order; just itself if it has no pools.

        What a pool says wins over what the model says; of `engine_args`, `env`, `sim`, `autoscaling`, `kv_cache`
        and `planned`, each key does.
        The returned specs have their pool's `pool` and `role`, so each can be started, placed and scaled like a model
        of its own. Of one of them, this method returns that one.
        """
        return tuple(self._in_pool(pool) for pool in self.pools) or (self,)

    def _in_pool(self, pool: PoolSpec) -> "ModelSpec":
        own = {key: value for key in OVERRIDDEN if (value := getattr(pool, key)) is not None}
        merged = {
            "engine_args": {**self.engine_args, **pool.engine_args},
            "env": {**self.env, **pool.env},
            "sim": _merged(self.sim, pool.sim),
            "autoscaling": _merged(self.autoscaling, pool.autoscaling),
            "kv_cache": _merged(self.kv_cache, pool.kv_cache),
            "planned": _merged(self.planned, pool.planned),
            "pools": (PoolSpec(name=pool.name, role=pool.role),),
        }
        return self.model_copy(update={**own, **merged})

    def duties_of(self, pool: "ModelSpec") -> KvDuties:
        """Return what the replicas of one of its pools, as `in_pools` gives it, do with KV blocks for the others."""
        return KvDuties.of(pool.role, [other.role for other in self.pools if other.name != pool.pool])

    @property
    def adapter_room(self) -> int:
        """How many adapters each replica can have loaded at once; 0: it is started for none."""
        return self.adapter_slots or (DEFAULT_SLOTS if self.adapters else 0)

    @property
    def served_task(self) -> Task | None:
        """What it is served for, as `task` or vLLM's `runner` says; None: its checkpoint decides."""
        if self.task is None and self.engine_args.get("runner") in {"pooling", "generate"}:
            return Task.EMBED if self.engine_args["runner"] == "pooling" else Task.GENERATE
        return self.task

    @property
    def is_autoscaled(self) -> bool:
        """Whether the number of replicas of one of its pools follows the load."""
        return any(pool.replicas.is_autoscaled for pool in self.in_pools())

    @property
    def is_always_there(self) -> bool:
        """Whether it always has a replica that can generate answers."""
        return any(pool.replicas.min and pool.role.decodes for pool in self.in_pools())

    @property
    def pool(self) -> str:
        """The name of its only pool; "": it has none with a name, or several."""
        return self.pools[0].name if len(self.pools) == 1 else ""

    @property
    def role(self) -> Role:
        """What the replicas of its only pool do."""
        return self.pools[0].role if len(self.pools) == 1 else Role.BOTH

    @property
    def label(self) -> str:
        """What people call what it runs: the model's name, and `:POOL` where that is one of several."""
        return label_of(self.name, self.pool)


def label_of(model: str, pool: str) -> str:
    """Return what people call a pool of a model: `chat:prefill`; of a pool without a name, the model's name."""
    return f"{model}:{pool}" if pool else model


def _merged(ours: PartT, theirs: PartT | None) -> PartT:
    """Return a part with the keys that `theirs` gives, and else those of `ours`."""
    return ours.model_copy(update={key: getattr(theirs, key) for key in theirs.model_fields_set}) if theirs else ours
