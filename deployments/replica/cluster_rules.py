"""Rules of the cluster file that only this package knows: the policies' names and the engine's arguments.

They look at raw data, so that their problems are reported together with all other mistakes of the file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.errors import PolicyError
from cluster.spec.cluster_file import each_model, engine_arguments
from cluster.spec.role import Role
from cluster.spec.yaml_tree import Location
from deployments.engines.vllm.known_arguments import problems
from router.scheduling.registry import COUNTS_SECONDS, base_of, policy_named


def cluster_rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Yield the location and message of each model's unknown or unfit policy and wrong engine arguments."""
    for position, model in each_model(data):
        policy = model.get("policy")
        if isinstance(policy, str):
            try:
                policy_named(policy)
            except PolicyError as error:
                yield ("models", position, "policy"), str(error)
            else:
                if base_of(policy) not in COUNTS_SECONDS and _is_divided(model):
                    yield (
                        ("models", position, "policy"),
                        (
                            f"{policy} counts no seconds, so it cannot weigh where a prompt is computed: pools that "
                            f"prefill or decode alone need {' or '.join(sorted(COUNTS_SECONDS))}"
                        ),
                    )
        if model.get("engine", "vllm") == "vllm":
            for where, arguments in engine_arguments(model):
                for key, message in problems(arguments):
                    yield ("models", position, *where, key), message


def _is_divided(model: Mapping[str, Any]) -> bool:
    """Tell whether a model has pools of which some compute prompts for others."""
    pools = model.get("pools")
    roles = [pool.get("role") for pool in pools if isinstance(pool, Mapping)] if isinstance(pools, list) else []
    return bool({Role.PREFILL, Role.DECODE} & {role for role in roles if isinstance(role, str)})
