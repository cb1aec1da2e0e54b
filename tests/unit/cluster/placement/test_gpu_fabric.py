"""Domains from the fabric section of `nvidia-smi -q`, in its own words (driver 570)."""

import pytest

from cluster.errors import TopologyError
from cluster.placement.gpu_fabric import domain_of

GPU = """\
GPU 0000000{number}:01:00.0
    Product Name                          : NVIDIA GB300
    Fabric
        State                             : Completed
        Status                            : Success
        CliqueId                          : {clique}
        ClusterUUID                       : {cluster}
        Health
            Bandwidth                     : N/A
"""
CLUSTER = "50000000-0000-0000-0000-000000000001"


def report(*gpus: tuple[str, str]) -> str:
    """Return the report of GPUs, each of a clique and a cluster."""
    return "".join(GPU.format(number=n, clique=clique, cluster=cluster) for n, (clique, cluster) in enumerate(gpus))


def test_the_fabrics_cluster_and_clique_are_the_domain() -> None:
    """All of a tray's GPUs are in the same."""
    assert domain_of(report(*[("32766", CLUSTER)] * 4)) == f"{CLUSTER}.32766"


def test_without_a_fabric_beyond_the_machine_there_is_none() -> None:
    """GPUs of a machine of their own, and older ones that have no such section."""
    assert domain_of(report(("0", "00000000-0000-0000-0000-000000000000"))) == ""
    assert domain_of(report(("N/A", "N/A"))) == ""
    assert domain_of("    Product Name : NVIDIA A100\n") == ""


def test_a_machine_in_two_domains_is_refused() -> None:
    """Its label could only be wrong for some of its GPUs."""
    with pytest.raises(TopologyError, match="several NVLink domains"):
        domain_of(report(("1", CLUSTER), ("2", CLUSTER)))
