"""How a model's KV cache is stored, and where its blocks go when the GPU has no room for them."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from cluster.spec.parts.part import Part

KvCacheDtype = Literal[
    "auto",
    "float16",
    "bfloat16",
    "fp8",
    "fp8_e4m3",
    "fp8_e5m2",
    "fp8_inc",
    "fp8_ds_mla",
    "nvfp4_ds_mla",
    "turboquant_k8v4",
    "turboquant_4bit_nc",
    "turboquant_k3v4_nc",
    "turboquant_3bit_nc",
    "ultraquant_4bit",
    "int4_per_token_head",
    "int8_per_token_head",
    "fp8_per_token_head",
    "nvfp4",
    "nvfp4_4over6",
]
"""Precisions of a KV cache that vLLM 0.32 has; which of them work depends on the GPU and the model."""

GB: Final = 1_000_000_000
"""Bytes of a gigabyte."""
HOST_BYTES_PER_S: Final = 25e9
"""Bytes that come back a second from host memory, until that is measured: PCIe 4.0 x16, as copies reach it."""
DISK_BYTES_PER_S: Final = 3e9
"""Bytes that come back a second from a disk, until that is measured: one NVMe drive."""

_Gigabytes = Annotated[float, Field(ge=0, le=1e6)]


class OffloadSpec(Part):
    """Where KV blocks are kept beside the GPU, of each replica.

    A prompt whose blocks have left the GPU is then fetched in place of being computed again. Blocks are copied to host
    memory as they are computed, and from there to files: each has copies of what the one above it holds, so it brings
    what it has room for beyond that.

    Attributes:
        cpu_gb: gigabytes (10⁹ bytes) of host memory, over all ranks of a replica; 0: nothing is kept.
        disk_gb: gigabytes of files; 0: none.
        disk_path: the folder of these files, on each machine; it is made where it is missing.
    """

    cpu_gb: _Gigabytes = 0.0
    disk_gb: _Gigabytes = 0.0
    disk_path: str = ""

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        wrong = "; ".join(self._problems())
        if wrong:
            raise ValueError(wrong)
        return self

    def _problems(self) -> Iterator[str]:
        if self.disk_gb and not self.cpu_gb:
            yield "cpu_gb is missing: blocks go through host memory on their way to the disk and back"
        if self.disk_gb and not self.disk_path:
            yield "disk_path is missing: the folder for the blocks' files"
        if self.disk_path and not self.disk_gb:
            yield "disk_gb is missing: how much of the disk the files may take"
        if self.disk_path and not self.disk_path.startswith("/"):
            yield f"disk_path is {self.disk_path!r}; it must begin with /, as replicas run in folders of their own"

    def __bool__(self) -> bool:
        """Return whether any block is kept."""
        return self.cpu_gb > 0

    def of_one_rank(self, ranks: int) -> "OffloadSpec":
        """Return what one of a replica's data-parallel ranks keeps, each of which has a cache of its own."""
        return self.model_copy(update={"cpu_gb": self.cpu_gb / ranks, "disk_gb": self.disk_gb / ranks})

    @property
    def cpu_bytes(self) -> int:
        """Bytes of host memory."""
        return round(self.cpu_gb * GB)

    @property
    def disk_bytes(self) -> int:
        """Bytes of files."""
        return round(self.disk_gb * GB)


class KvCacheSpec(Part):
    """A model's KV cache.

    Attributes:
        dtype: precision of its values, as vLLM's `kv_cache_dtype`; unset: that of the model.
        offload: where blocks are kept that leave the GPU.
    """

    dtype: KvCacheDtype | None = None
    offload: OffloadSpec = OffloadSpec()
