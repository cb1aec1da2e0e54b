"""Rules of the cluster file that only this package knows: the policies' names and the engine's arguments.

They look at raw data, so that their problems are reported together with all other mistakes of the file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.errors import PolicyError
from cluster.spec.cluster_file import each_model, engine_arguments
from cluster.spec.yaml_tree import Location
from deployments.engines.vllm.known_arguments import problems
from router.scheduling.registry import policy_named


def cluster_rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Yield the location and message of each model's unknown policy and wrong engine arguments."""
    for position, model in each_model(data):
        policy = model.get("policy")
        if isinstance(policy, str):
            try:
                policy_named(policy)
            except PolicyError as error:
                yield ("models", position, "policy"), str(error)
        if model.get("engine", "vllm") == "vllm":
            for where, arguments in engine_arguments(model):
                for key, message in problems(arguments):
                    yield ("models", position, *where, key), message
