"""Reads a machine's NVLink domain from the output of `nvidia-smi -q`. Pure: the command is run elsewhere."""

import re
from collections.abc import Iterator

from cluster.errors import TopologyError

_FIELD = re.compile(r"^\s*(clusteruuid|cliqueid)\s*:\s*(\S+)\s*$", re.IGNORECASE | re.MULTILINE)
_NO_CLUSTER = re.compile(r"(n/a|[0-]+)?", re.IGNORECASE)


def domain_of(report: str) -> str:
    """Return the machine's NVLink domain as `<ClusterUUID>.<CliqueId>`.

    NVIDIA's own label `nvidia.com/gpu.clique` has the same form.

    Args:
        report: output of `nvidia-smi -q`.

    Returns:
        The domain; "" where NVLink does not reach beyond the machine, which is then a domain by itself.

    Raises:
        TopologyError: the machine's GPUs are in several domains, but a node can be in one only.
    """
    domains = sorted(set(_domains(report)))
    if len(domains) > 1:
        raise TopologyError(f"the GPUs of this machine are in several NVLink domains: {', '.join(domains)}")
    return domains[0] if domains else ""


def _domains(report: str) -> Iterator[str]:
    clique = ""
    for key, value in _FIELD.findall(report):
        if key.lower() == "cliqueid":
            clique = value
        elif clique and not _NO_CLUSTER.fullmatch(value):
            yield f"{value}.{clique}"
