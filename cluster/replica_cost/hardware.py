"""Accelerators by data sheets and published measurements: memory, rates, links, GPUs in a node, nodes in a domain.

Rates are dense (no 2:4 sparsity). Bandwidths are for one GPU, in one direction. Memory is what programs can use where
that is published, and the nominal size elsewhere. `sources` says where each figure is from; a figure that nobody
publishes is marked as our choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cluster.model_shapes.precision import Precision, Rate


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of GPU and the nodes it comes in.

    Attributes:
        name: name in plan and topology files.
        title: the maker's name for it.
        memory_bytes: memory of one GPU, bytes.
        memory_bytes_per_s: peak bandwidth of that memory, bytes a second.
        flops: peak matrix operations a second, by kind of arithmetic; kinds that the hardware lacks are missing.
        link_bytes_per_s: bytes a second to the other GPUs of its NVLink domain, one direction; PCIe where there is no
            NVLink.
        network_bytes_per_s: bytes a second to GPUs of other domains, one direction: a GPU's share of the node's cards.
        gpus_per_node: GPUs in one machine.
        nodes_per_domain: machines in one NVLink domain.
        watts: highest power of one GPU.
        sources: where each figure is from, by attribute; `""` covers the others.
        caution: warning for plans with this hardware; "" if none.
        generation: kind of its matrix units, which the cost model has coefficients for; "" where it has none.
        host_memory_bytes: host memory of a machine.
        disk_bytes: disks of a machine for checkpoints and KV cache.
        is_host: its memory is the host's own.
    """

    name: str
    title: str
    memory_bytes: float
    memory_bytes_per_s: float
    flops: Mapping[Rate, float]
    link_bytes_per_s: float
    network_bytes_per_s: float
    gpus_per_node: int
    nodes_per_domain: int
    watts: float
    host_memory_bytes: float
    disk_bytes: float
    sources: Mapping[str, str]
    caution: str = ""
    generation: str = ""
    is_host: bool = False

    @property
    def gpus_per_domain(self) -> int:
        """GPUs in one NVLink domain, which reach each other at link speed."""
        return self.gpus_per_node * self.nodes_per_domain

    def rate(self, precision: Precision) -> float:
        """Return the peak matrix operations a second for weights in `precision`."""
        return next(self.flops[rate] for rate in precision.rates if rate in self.flops)

    def runs(self, precision: Precision) -> bool:
        """Return whether the hardware multiplies in `precision` itself, without unpacking to a wider format."""
        return precision.rates[0] in self.flops


_T: Final = 1e12
_GB: Final = 1e9
_GBIT: Final = 1e9 / 8

_DGX_H100: Final = "NVIDIA DGX H100/H200 user guide: eight 400 Gb/s ConnectX-7, one for each GPU"
_HOPPER: Final = "NVIDIA H100 and H200 data sheets, SXM column, figures with sparsity halved"
_BASEPOD: Final = "NVIDIA DGX BasePOD reference architecture, H200 and H100: 2 TB, eight drives of 3.84 TB"
_TRAY: Final = "NVIDIA NVL72 reference architecture: four E1.S drives a tray; 3.84 TB each are our choice"
_VERDA: Final = "verda.com, 'NVIDIA GB300 NVL72: GPU architecture and performance' (2025), dense column"

ACCELERATORS: Final[Mapping[str, Accelerator]] = {
    accelerator.name: accelerator
    for accelerator in (
        Accelerator(
            name="gb300",
            generation="blackwell",
            title="NVIDIA GB300 NVL72",
            memory_bytes=279 * _GB,
            memory_bytes_per_s=8 * _T,
            flops={Rate.BF16: 2500 * _T, Rate.FP8: 5000 * _T, Rate.FP4: 15000 * _T, Rate.INT8: 165 * _T},
            link_bytes_per_s=900 * _GB,
            network_bytes_per_s=800 * _GBIT,
            gpus_per_node=4,
            nodes_per_domain=18,
            watts=1400,
            host_memory_bytes=17 * _T / 18,
            disk_bytes=4 * 3.84 * _T,
            sources={
                "": "NVIDIA GB300 NVL72 data sheet, per-rack figures / 72",
                "memory_bytes": _VERDA + "; nominally 288 GB",
                "flops": _VERDA + "; INT8 is nearly gone: never plan it",
                "network_bytes_per_s": "NVIDIA GB300 NVL72 page: 72 ConnectX-8 of 800 Gb/s",
                "host_memory_bytes": "NVIDIA GB300 NVL72 page: 17 TB of LPDDR5X in 18 trays",
                "disk_bytes": _TRAY,
            },
        ),
        Accelerator(
            name="gb200",
            generation="blackwell",
            title="NVIDIA GB200 NVL72",
            memory_bytes=186 * _GB,
            memory_bytes_per_s=8 * _T,
            flops={Rate.BF16: 2500 * _T, Rate.FP8: 5000 * _T, Rate.FP4: 10000 * _T, Rate.INT8: 5000 * _T},
            link_bytes_per_s=900 * _GB,
            network_bytes_per_s=400 * _GBIT,
            gpus_per_node=4,
            nodes_per_domain=18,
            watts=1200,
            host_memory_bytes=17 * _T / 18,
            disk_bytes=4 * 3.84 * _T,
            sources={
                "": "NVIDIA GB200 NVL72 data sheet, per-rack figures / 72, figures with sparsity halved",
                "memory_bytes": "MLPerf Inference v5.1 system 5.1-0071, '72x GB200-186GB'; 13.4 TB / 72",
                "network_bytes_per_s": "NVIDIA DGX GB200 user guide: one 400 Gb/s ConnectX-7 for each GPU",
                "host_memory_bytes": "NVIDIA GB200 NVL72 page: 17 TB of LPDDR5X in 18 trays",
                "disk_bytes": _TRAY,
            },
        ),
        Accelerator(
            name="b300",
            generation="blackwell",
            title="NVIDIA HGX B300",
            memory_bytes=279 * _GB,
            memory_bytes_per_s=8 * _T,
            flops={Rate.BF16: 2250 * _T, Rate.FP8: 4500 * _T, Rate.FP4: 13125 * _T, Rate.INT8: 150 * _T},
            link_bytes_per_s=900 * _GB,
            network_bytes_per_s=800 * _GBIT,
            gpus_per_node=8,
            nodes_per_domain=1,
            watts=1400,
            host_memory_bytes=2 * _T,
            disk_bytes=8 * 3.84 * _T,
            sources={
                "": "NVIDIA DGX B300 user guide and HGX B300 page / 8, figures with sparsity halved",
                "memory_bytes": "as GB300's: nominally 288 GB",
                "flops": "G. K. Lockwood, 'B300': dense FP4 by its own figure; INT8 is nearly gone: never plan it",
                "watts": "G. K. Lockwood, 'B300'",
                "network_bytes_per_s": "NVIDIA HGX B300 page: eight ConnectX-8 of 800 Gb/s",
                "host_memory_bytes": "our choice: as the DGX B200's",
                "disk_bytes": "our choice: as the DGX B200's",
            },
        ),
        Accelerator(
            name="b200",
            generation="blackwell",
            title="NVIDIA HGX B200",
            memory_bytes=180 * _GB,
            memory_bytes_per_s=8 * _T,
            flops={Rate.BF16: 2250 * _T, Rate.FP8: 4500 * _T, Rate.FP4: 9000 * _T, Rate.INT8: 4500 * _T},
            link_bytes_per_s=900 * _GB,
            network_bytes_per_s=400 * _GBIT,
            gpus_per_node=8,
            nodes_per_domain=1,
            watts=1000,
            host_memory_bytes=2 * _T,
            disk_bytes=8 * 3.84 * _T,
            sources={
                "": "NVIDIA DGX B200 data sheet / 8, figures with sparsity halved",
                "memory_bytes": "MLPerf Inference v5.1 system 5.1-0069, '8x B200-SXM-180GB'; 1 440 GB / 8",
                "host_memory_bytes": "NVIDIA DGX B200 user guide: 2 TB, 4 TB at most",
                "disk_bytes": "NVIDIA DGX B200 user guide: eight drives of 3.84 TB",
            },
        ),
        Accelerator(
            name="h200",
            generation="hopper",
            title="NVIDIA HGX H200",
            memory_bytes=141 * _GB,
            memory_bytes_per_s=4.8 * _T,
            flops={Rate.BF16: 989.5 * _T, Rate.FP8: 1979 * _T, Rate.INT8: 1979 * _T},
            link_bytes_per_s=450 * _GB,
            network_bytes_per_s=400 * _GBIT,
            gpus_per_node=8,
            nodes_per_domain=1,
            watts=700,
            host_memory_bytes=2 * _T,
            disk_bytes=8 * 3.84 * _T,
            sources={
                "": _HOPPER,
                "network_bytes_per_s": _DGX_H100,
                "host_memory_bytes": _BASEPOD,
                "disk_bytes": _BASEPOD,
            },
        ),
        Accelerator(
            name="h100",
            generation="hopper",
            title="NVIDIA HGX H100 80 GB",
            memory_bytes=80 * _GB,
            memory_bytes_per_s=3.35 * _T,
            flops={Rate.BF16: 989.5 * _T, Rate.FP8: 1979 * _T, Rate.INT8: 1979 * _T},
            link_bytes_per_s=450 * _GB,
            network_bytes_per_s=400 * _GBIT,
            gpus_per_node=8,
            nodes_per_domain=1,
            watts=700,
            host_memory_bytes=2 * _T,
            disk_bytes=8 * 3.84 * _T,
            sources={
                "": _HOPPER,
                "network_bytes_per_s": _DGX_H100,
                "host_memory_bytes": _BASEPOD,
                "disk_bytes": _BASEPOD,
            },
        ),
        Accelerator(
            name="a100",
            title="NVIDIA HGX A100 80 GB",
            memory_bytes=80 * _GB,
            memory_bytes_per_s=2.039 * _T,
            flops={Rate.BF16: 312 * _T, Rate.INT8: 624 * _T},
            link_bytes_per_s=300 * _GB,
            network_bytes_per_s=200 * _GBIT,
            gpus_per_node=8,
            nodes_per_domain=1,
            watts=400,
            host_memory_bytes=2 * _T,
            disk_bytes=8 * 3.84 * _T,
            sources={
                "": "NVIDIA A100 80GB data sheet, SXM column",
                "network_bytes_per_s": "NVIDIA DGX A100 data sheet: eight 200 Gb/s ConnectX-6, one for each GPU",
                "host_memory_bytes": "NVIDIA DGX A100 640GB data sheet",
                "disk_bytes": "NVIDIA DGX A100 640GB data sheet: eight drives of 3.84 TB",
            },
        ),
        Accelerator(
            name="l40s",
            title="NVIDIA L40S",
            memory_bytes=48 * _GB,
            memory_bytes_per_s=0.864 * _T,
            flops={Rate.BF16: 362.05 * _T, Rate.FP8: 733 * _T, Rate.INT8: 733 * _T},
            link_bytes_per_s=32 * _GB,
            network_bytes_per_s=100 * _GBIT,
            gpus_per_node=8,
            nodes_per_domain=1,
            watts=350,
            host_memory_bytes=1.65 * _T,
            disk_bytes=4 * 1.9 * _T,
            sources={
                "": "NVIDIA L40S data sheet, dense column",
                "link_bytes_per_s": "NVIDIA L40S data sheet: PCIe 4.0 x16, 64 GB/s both ways; it has no NVLink",
                "gpus_per_node": "our choice: the largest common PCIe server",
                "network_bytes_per_s": "our choice: 400 Gb/s cards shared by four GPUs",
                "host_memory_bytes": "AWS g6e.48xlarge, eight L40S: 1 536 GiB",
                "disk_bytes": "AWS g6e.48xlarge: four drives of 1.9 TB",
            },
        ),
        Accelerator(
            name="mi300x",
            title="AMD Instinct MI300X",
            memory_bytes=192 * _GB,
            memory_bytes_per_s=5.3 * _T,
            flops={Rate.BF16: 1307.4 * _T, Rate.FP8: 2614.9 * _T, Rate.INT8: 2614.9 * _T},
            link_bytes_per_s=448 * _GB,
            network_bytes_per_s=400 * _GBIT,
            gpus_per_node=8,
            nodes_per_domain=1,
            watts=750,
            host_memory_bytes=2 * _T,
            disk_bytes=8 * 3.84 * _T,
            sources={
                "": "AMD Instinct MI300X data sheet, dense figures",
                "link_bytes_per_s": "AMD MI300X platform data sheet: 896 GB/s to the seven peers, both ways",
                "network_bytes_per_s": "our choice: one 400 Gb/s card for each GPU, as on NVIDIA's HGX",
                "host_memory_bytes": "our choice: as on NVIDIA's HGX",
                "disk_bytes": "our choice: as on NVIDIA's HGX",
            },
            caution="the cost model was never held against a published result of this GPU",
        ),
        Accelerator(
            name="cpu",
            title="CPU node (two Intel Xeon Platinum 8480+)",
            memory_bytes=512 * _GB,
            memory_bytes_per_s=0.614 * _T,
            flops={Rate.BF16: 458 * _T, Rate.INT8: 917 * _T},
            link_bytes_per_s=100 * _GBIT,
            network_bytes_per_s=100 * _GBIT,
            gpus_per_node=1,
            nodes_per_domain=1,
            watts=700,
            host_memory_bytes=512 * _GB,
            disk_bytes=2 * 3.84 * _T,
            is_host=True,
            sources={
                "": "Intel ARK, Xeon Platinum 8480+: 56 cores, 8 channels of DDR5-4800, 350 W; two sockets",
                "flops": "Intel AMX: 2 048 BF16 operations a core and cycle (twice for INT8), at 2.0 GHz",
                "memory_bytes": "our choice: 16 modules of 32 GB",
                "link_bytes_per_s": "our choice: 100 Gb/s Ethernet, and no domain beyond the node",
                "host_memory_bytes": "the same memory as memory_bytes",
                "disk_bytes": "our choice: two drives of 3.84 TB",
            },
            caution="throughput is an upper bound: engines on CPUs stay far below the matrix units' peak",
        ),
    )
}
"""All accelerators, by name."""


def accelerator_named(label: str) -> Accelerator | None:
    """Return the accelerator that a value of the label `ray.io/accelerator-type` names, as `GB300` or `NVIDIA-H100` do.

    Args:
        label: the value; "": none.

    Returns:
        The accelerator with the longest name in it, as `gb300` has `b300` in it; None: it names none that is known.
    """
    named = [name for name in ACCELERATORS if name in label.lower()]
    return ACCELERATORS[max(named, key=len)] if named else None
