"""Settings of NCCL, UCX and Gloo by what joins the machines, each with its source: for `rackserve up`, chart and plan.

Few, for these libraries find most by themselves. What is set here either is off by default, or turns a silent fall back
to a slower way into a failure that says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FabricSetting:
    """An environment variable of every process of a replica.

    Attributes:
        name: its name.
        value: its value; what the operator sets wins.
        why: what it is for, as the end of a sentence.
        source: where that is documented.
    """

    name: str
    value: str
    why: str
    source: str


_NCCL: Final = "docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html"

MULTI_NODE_NVLINK: Final = (
    FabricSetting(
        "NCCL_MNNVL_ENABLE",
        "1",
        "collectives between machines of a rack take NVLink, or the start fails (by default they take the network)",
        f"{_NCCL}#nccl-mnnvl-enable",
    ),
    FabricSetting("NCCL_CUMEM_ENABLE", "1", "multi-node NVLink needs it", f"{_NCCL}#nccl-mnnvl-enable"),
    FabricSetting(
        "UCX_CUDA_IPC_ENABLE_MNNVL",
        "try",
        "KV blocks between machines of a rack take NVLink where it is there; off by default",
        "github.com/openucx/ucx/pull/10206 and its docs/source/faq.md",
    ),
)
"""For machines that share NVLink, such as the 18 of an NVL72."""

POD: Final = (
    FabricSetting(
        "NCCL_SOCKET_IFNAME",
        "=eth0",
        "NCCL meets on the pod's own network, not on a second one",
        f"{_NCCL}#nccl-socket-ifname; eth0: github.com/containernetworking/cni, CNI_IFNAME as Kubernetes sets it",
    ),
    FabricSetting(
        "GLOO_SOCKET_IFNAME",
        "eth0",
        "so does Gloo, which PyTorch's process groups on CPUs use",
        "docs.pytorch.org/docs/stable/distributed.html, 'Choosing the network interface to use'",
    ),
)
"""For pods with GPUs that have a network of their own (no `hostNetwork`)."""

IMEX: Final = (
    "an IMEX domain over the rack's machines, which multi-node NVLink needs: under Helm a ComputeDomain starts it "
    "(`computeDomain`), elsewhere the service nvidia-imex (`nvidia-imex-ctl -N` shows it)"
)
"""What machines that share NVLink need beside settings. Source: NCCL's Troubleshooting, "Multi-node NVLink issues"."""


def fabric_settings(nodes_per_domain: int) -> Sequence[FabricSetting]:
    """Return the settings for machines of which so many share one NVLink domain."""
    return MULTI_NODE_NVLINK if nodes_per_domain > 1 else ()


def as_environment(settings: Sequence[FabricSetting]) -> Mapping[str, str]:
    """Return settings as environment variables."""
    return {setting.name: setting.value for setting in settings}
