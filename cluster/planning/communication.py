"""Seconds that collectives take: bytes over the slowest link, and a latency.

Volumes are those of ring algorithms ("Bringing HPC Techniques to Deep Learning", Baidu 2017; NCCL's own bus-bandwidth
notes): an all-reduce moves `2 (n - 1) / n` times its size over every GPU's link. In-network reduction (NVLink SHARP)
would nearly halve that and is left out.
"""

from typing import Final

LINK_SHARE: Final = 0.8
"""What collectives reach of a link's peak: NCCL's all-reduce on NVSwitch is published at 0.77 to 0.85 of it."""

LINK_LATENCY_S: Final = 10e-6
"""Of one collective or message inside a domain (`p2p_latency` of NVIDIA's aiconfigurator)."""

NETWORK_LATENCY_S: Final = 15e-6
"""Of one message between domains (the same, plus its `inter_rack_latency`)."""

DISPATCH_BYTES: Final = 1.0
"""Of each value sent to an expert: FP8 (DeepEP's dispatch)."""

COMBINE_BYTES: Final = 2.0
"""Of each value sent back: BF16 (DeepEP's combine)."""


def all_reduce_s(size_bytes: float, gpus: int, link_bytes_per_s: float) -> float:
    """Return the seconds to sum `size_bytes` over `gpus` GPUs, each left with the whole sum."""
    if gpus == 1:
        return 0.0
    return 2 * (gpus - 1) / gpus * size_bytes / (link_bytes_per_s * LINK_SHARE) + LINK_LATENCY_S


def expert_exchange_s(tokens: float, hidden: int, active: int, gpus: int, link_bytes_per_s: float) -> float:
    """Return the seconds to send `tokens` tokens of one GPU to their experts and the results back.

    Args:
        tokens: of that GPU.
        hidden: values in a token.
        active: experts each token goes to.
        gpus: that the experts are dealt to; a token goes once to each GPU that has any of its experts.
        link_bytes_per_s: of a GPU, one direction.
    """
    if gpus == 1:
        return 0.0
    others = (gpus - 1) * (1 - (1 - 1 / gpus) ** active)
    volume = tokens * others * hidden * (DISPATCH_BYTES + COMBINE_BYTES)
    return volume / (link_bytes_per_s * LINK_SHARE) + 2 * LINK_LATENCY_S


def stage_hop_s(size_bytes: float, bytes_per_s: float, *, within_domain: bool) -> float:
    """Return the seconds to hand `size_bytes` of one GPU to its peer in the next pipeline stage."""
    latency_s = LINK_LATENCY_S if within_domain else NETWORK_LATENCY_S
    return size_bytes / (bytes_per_s * LINK_SHARE) + latency_s
