"""`rackserve node-labels`: prints this machine's labels for `ray start --labels`."""

import shutil
import socket
import subprocess
from typing import Final

from cluster.errors import TopologyError
from cluster.placement.gpu_fabric import domain_of
from cluster.placement.node_labels import DOMAIN, HOST, RACK

NVIDIA_SMI: Final = "nvidia-smi"
TIMEOUT_S: Final = 60.0
MAX_LABEL_CHARS: Final = 63


def node_labels(domain: str, rack: str, host: str) -> None:
    """Print `--labels=…` for `ray start`.

    Args:
        domain: the NVLink domain; "": that of the GPUs' fabric, or the machine itself if there is none.
        rack: the machine's rack; "": not given.
        host: the machine's name for people; "": its host name.

    Raises:
        TopologyError: there are no GPUs to ask and no domain was given, or a value cannot be a label.
    """
    name = host or socket.gethostname().partition(".")[0]
    labels = {DOMAIN: domain or _domain_here() or name, HOST: name, RACK: rack}
    for key, value in labels.items():
        if not all(char.isalnum() or char in "-_." for char in value) or len(value) > MAX_LABEL_CHARS:
            raise TopologyError(
                f"{key}: {value!r} cannot be a label: letters, digits and - _ . only, {MAX_LABEL_CHARS} at most"
            )
    print("--labels=" + ",".join(f"{key}={value}" for key, value in labels.items() if value))  # noqa: T201 - for a shell


def _domain_here() -> str:
    path = shutil.which(NVIDIA_SMI)
    if path is None:
        raise TopologyError(f"no {NVIDIA_SMI} on this machine to ask for its NVLink domain; give it: --domain NAME")
    try:
        ran = subprocess.run([path, "-q"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603 - found on PATH
    except (OSError, subprocess.SubprocessError) as error:
        raise TopologyError(f"{NVIDIA_SMI} -q failed ({error}); give the NVLink domain: --domain NAME") from error
    return domain_of(ran.stdout)
