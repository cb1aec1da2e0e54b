"""The NVLink domain of a machine, from what `nvidia-smi -q` says of its GPUs' fabric. Pure."""

import re
from collections.abc import Iterator

from cluster.errors import TopologyError

_FIELD = re.compile(r"^\s*(clusteruuid|cliqueid)\s*:\s*(\S+)\s*$", re.IGNORECASE | re.MULTILINE)
_NO_CLUSTER = re.compile(r"(n/a|[0-]+)?", re.IGNORECASE)


def domain_of(report: str) -> str:
    """Return the domain, `<ClusterUUID>.<CliqueId>` as NVIDIA's own `nvidia.com/gpu.clique` has it.

    Args:
        report: of `nvidia-smi -q`.

    Returns:
        "" where the GPUs are in no fabric that reaches beyond the machine: then the machine is the domain.

    Raises:
        TopologyError: the machine's GPUs are in several domains; no gang could be told which.
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
