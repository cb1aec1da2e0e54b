"""How long KV blocks take to come back from below a device, until that is measured.

Plans, the simulated engine and the first guess of real ones count alike. From host memory each GPU copies its own part,
all at the same time. Files are read to host memory first, at the speed of one drive.
"""

from cluster.spec.model_parts.kv_cache_spec import DISK_BYTES_PER_S, HOST_BYTES_PER_S


def from_host_s(gpu_bytes: float, host_bytes_per_s: float = HOST_BYTES_PER_S) -> float:
    """Return the seconds that blocks take from host memory.

    Args:
        gpu_bytes: their bytes on one GPU.
        host_bytes_per_s: bytes that a GPU copies a second.
    """
    return gpu_bytes / host_bytes_per_s


def from_disk_s(
    gpu_bytes: float,
    all_bytes: float,
    host_bytes_per_s: float = HOST_BYTES_PER_S,
    disk_bytes_per_s: float = DISK_BYTES_PER_S,
) -> float:
    """Return the seconds that blocks take from files, by way of host memory.

    Args:
        gpu_bytes: their bytes on one GPU.
        all_bytes: their bytes in the files, of all GPUs.
        host_bytes_per_s: bytes that a GPU copies a second from host memory.
        disk_bytes_per_s: bytes that are read a second.
    """
    return all_bytes / disk_bytes_per_s + from_host_s(gpu_bytes, host_bytes_per_s)
