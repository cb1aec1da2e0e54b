"""One pool of a model: equal replicas, with what they have of their own."""

from typing import Annotated, Any, Final

from pydantic import Field, field_serializer

from cluster.spec.model_parts.kv_cache_spec import KvCacheSpec
from cluster.spec.model_parts.parallelism import Parallelism
from cluster.spec.model_parts.planned_spec import PlannedSpec
from cluster.spec.model_parts.scaling_spec import AutoscalingSpec, ReplicaCount
from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_parts.speculative_spec import SpeculativeSpec
from cluster.spec.parts.part import Part
from cluster.spec.role import Role

OVERRIDDEN: Final = (
    "replicas", "parallel", "cpus", "gpus_per_replica", "accelerator", "node_group", "speculative",
)  # fmt: skip
"""Keys of a pool that take the place of the model's as a whole; of the other mappings each key does."""


class PoolSpec(Part):
    """One pool of a model's replicas. What it does not say, the model says (`cluster.spec.model_spec.ModelSpec`).

    Attributes:
        name: its name, unique in the model.
        role: what its replicas do of a request: `both`, or they compute prompts for other pools (`prefill`), or
            generate answers to prompts that other pools computed (`decode`).
        replicas: number of replicas.
        parallel: how one replica is divided over GPUs.
        accelerator: kind of GPU it needs.
        node_group: node group to grow when a replica fits nowhere.
        engine_args: arguments for the engine, each in place of the model's of that name.
        env: environment variables, each in place of the model's of that name.
        cpus: CPU cores that Ray reserves for a replica.
        gpus_per_replica: logical GPUs that Ray reserves for a replica of one rank.
        autoscaling: how the number follows the load, each key in place of the model's.
        sim: settings of the simulated engine, each in place of the model's.
        speculative: how tokens are drafted; `{method: none}`: they are not, whatever the model says.
        kv_cache: precision and offloading of the KV cache, each of both in place of the model's.
        planned: what each of its replicas was planned to do, each key in place of the model's.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    role: Role = Role.BOTH
    replicas: ReplicaCount | None = None
    parallel: Parallelism | None = None
    accelerator: str | None = None
    node_group: str | None = None
    engine_args: dict[str, Any] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    cpus: Annotated[float, Field(ge=0)] | None = None
    gpus_per_replica: Annotated[float, Field(ge=0)] | None = None
    autoscaling: AutoscalingSpec | None = None
    sim: SimSpec | None = None
    speculative: SpeculativeSpec | None = None
    kv_cache: KvCacheSpec | None = None
    planned: PlannedSpec | None = None

    @field_serializer("autoscaling", "sim", "kv_cache", "planned")
    def _given(self, part: Part | None) -> dict[str, Any] | None:
        # Only the keys that it gives: read again, the others must stay the model's.
        return part.model_dump(mode="json", exclude_unset=True) if part is not None else None
