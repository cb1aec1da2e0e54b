"""Makes the chart's `schema/fabric.json`: settings of NCCL, UCX and Gloo, by what a group's pods have."""

import json

from cluster.launch.fabric import MULTI_NODE_NVLINK, POD, as_environment


def fabric_text() -> str:
    """Return the text of `schema/fabric.json`: `computeDomain` and `pod`, each an environment."""
    environments = {"computeDomain": as_environment(MULTI_NODE_NVLINK), "pod": as_environment(POD)}
    return json.dumps(environments, indent=1, sort_keys=True) + "\n"
