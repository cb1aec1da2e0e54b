"""Estimates the seconds that collectives take: bytes over the slowest link, plus a latency.

Volumes are those of ring algorithms ("Bringing HPC Techniques to Deep Learning", Baidu 2017; NCCL's own bus-bandwidth
notes): an all-reduce moves `2 (n - 1) / n` times its size over every GPU's link. In-network reduction (NVLink SHARP)
would nearly halve that and is left out.
"""

from typing import Final

LINK_SHARE: Final = 0.8
"""Share of a link's peak that collectives reach: NCCL's all-reduce on NVSwitch is published at 0.77 to 0.85."""

LINK_LATENCY_S: Final = 10e-6
"""Seconds of latency of one collective or message inside a domain (`p2p_latency` of NVIDIA's aiconfigurator)."""

NETWORK_LATENCY_S: Final = 15e-6
"""Seconds of latency of one message between domains (aiconfigurator's `p2p_latency` plus `inter_rack_latency`)."""

DISPATCH_BYTES: Final = 1.0
"""Bytes of each value sent to an expert: FP8 (DeepEP's dispatch)."""

COMBINE_BYTES: Final = 2.0
"""Bytes of each value that an expert sends back: BF16 (DeepEP's combine)."""


def all_reduce_s(size_bytes: float, gpus: int, link_bytes_per_s: float) -> float:
    """Return the seconds to sum `size_bytes` over `gpus` GPUs so that each has the whole sum.

    Args:
        size_bytes: bytes on each GPU.
        gpus: number of GPUs.
        link_bytes_per_s: bytes a second of a GPU's link, one direction.
    """
    if gpus == 1:
        return 0.0
    return 2 * (gpus - 1) / gpus * size_bytes / (link_bytes_per_s * LINK_SHARE) + LINK_LATENCY_S


def expert_exchange_s(tokens: float, hidden: int, active: int, gpus: int, link_bytes_per_s: float) -> float:
    """Return the seconds to send `tokens` tokens of one GPU to their experts and to get the results back.

    Args:
        tokens: tokens on that GPU.
        hidden: values in a token's vector.
        active: experts that each token goes to.
        gpus: GPUs that hold the experts; a token goes once to each GPU that has any of its experts.
        link_bytes_per_s: bytes a second of a GPU's link, one direction.
    """
    if gpus == 1:
        return 0.0
    others = (gpus - 1) * (1 - (1 - 1 / gpus) ** active)
    volume = tokens * others * hidden * (DISPATCH_BYTES + COMBINE_BYTES)
    return volume / (link_bytes_per_s * LINK_SHARE) + 2 * LINK_LATENCY_S


def stage_hop_s(size_bytes: float, bytes_per_s: float, *, within_domain: bool) -> float:
    """Return the seconds to send `size_bytes` from one GPU to its peer in the next pipeline stage.

    Args:
        size_bytes: bytes to send.
        bytes_per_s: bytes a second of the link or network between the two.
        within_domain: whether both stages are in one NVLink domain, which has the shorter latency.
    """
    latency_s = LINK_LATENCY_S if within_domain else NETWORK_LATENCY_S
    return size_bytes / (bytes_per_s * LINK_SHARE) + latency_s
