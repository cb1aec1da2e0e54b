"""KV cache beyond GPU memory in a plan file: the cluster file's `offload`, and how much of prompts it is to bring."""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from cluster.spec.model_parts.kv_cache_spec import OffloadSpec

_OF_THE_FILE: Final = {"cpu_gb", "disk_gb", "disk_path"}


class OffloadPlan(OffloadSpec):
    """Where a plan's replicas keep KV blocks beyond the GPU; all but `hit` is as in the cluster file.

    Attributes:
        hit: share of a prompt's tokens expected to be found there alone, beside `workload.prefix_hit` of them on the
            GPU, 0 to 1. The gateway's metrics tell it of a model that serves; 0: the plan only weighs a token that is
            fetched against one that is computed.
    """

    hit: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if not self.cpu_gb:
            raise ValueError("cpu_gb is missing: gigabytes of host memory for each replica")
        return self

    @property
    def as_in_the_cluster_file(self) -> dict[str, float | str]:
        """The `offload` of the cluster file's `kv_cache`."""
        return self.model_dump(include=_OF_THE_FILE, exclude_defaults=True)
