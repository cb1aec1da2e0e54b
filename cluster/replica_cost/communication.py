"""Estimates the seconds that messages between stages and replicas take: bytes over the link, plus a latency.

Collectives within a step are in `cluster.step_time.step`.
"""

from typing import Final

LINK_SHARE: Final = 0.8
"""Share of a link's peak that collectives reach: NCCL's all-reduce on NVSwitch is published at 0.77 to 0.85."""

LINK_LATENCY_S: Final = 10e-6
"""Seconds of latency of one collective or message inside a domain (`p2p_latency` of NVIDIA's aiconfigurator)."""

NETWORK_LATENCY_S: Final = 15e-6
"""Seconds of latency of one message between domains (aiconfigurator's `p2p_latency` plus `inter_rack_latency`)."""


def stage_hop_s(size_bytes: float, bytes_per_s: float, *, within_domain: bool) -> float:
    """Return the seconds to send `size_bytes` from one GPU to its peer in the next pipeline stage.

    Args:
        size_bytes: bytes to send.
        bytes_per_s: bytes a second of the link or network between the two.
        within_domain: whether both stages are in one NVLink domain, which has the shorter latency.
    """
    latency_s = LINK_LATENCY_S if within_domain else NETWORK_LATENCY_S
    return size_bytes / (bytes_per_s * LINK_SHARE) + latency_s
