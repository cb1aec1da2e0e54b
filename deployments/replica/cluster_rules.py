"""Rules of the cluster file that only this package knows: the policies' names and the engine's arguments.

They look at raw data, so that their problems are reported together with all other mistakes of the file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.errors import PolicyError
from cluster.spec.cluster_file import each_model, engine_arguments
from cluster.spec.model_parts.task import Task
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
        yield from _task_rules(("models", position), model)
        yield from _parser_rules(("models", position), model)
        if model.get("engine", "vllm") == "vllm":
            for where, arguments in engine_arguments(model):
                for key, message in problems(arguments):
                    yield ("models", position, *where, key), message


def _task_rules(where: Location, model: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Yield what a model that does not generate cannot have."""
    task = model.get("task")
    if task not in {Task.EMBED, Task.CLASSIFY, Task.SCORE}:
        return
    policy = model.get("policy")
    if isinstance(policy, str) and policy.endswith(":exact"):
        yield (*where, "policy"), f"a model that serves {task} caches no prompts: give the policy without :exact"
    if _is_divided(model):
        yield (*where, "pools"), f"a model that serves {task} generates nothing: its pools have no role but 'both'"
    for key in ("reasoning_parser", "tool_call_parser"):
        if model.get(key, "auto") not in {"auto", "none"}:
            yield (*where, key), f"a model that serves {task} generates no answers to look through: leave it out"


def _parser_rules(where: Location, model: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Yield the parsers that there are not, and what is said in two places."""
    given = model.get("engine_args")
    arguments = {str(key).replace("-", "_"): value for key, value in (given if isinstance(given, dict) else {}).items()}
    for key, unset in (("reasoning_parser", "auto"), ("tool_call_parser", "auto"), ("chat_template", "")):
        value = model.get(key, unset)
        if value == unset:
            continue
        if key in arguments:
            yield (*where, key), f"engine_args.{key} says it too; leave one of them out"
        elif isinstance(value, str) and value != "none" and model.get("engine", "vllm") == "vllm":
            plugins = {name: each for name, each in arguments.items() if name.endswith("_parser_plugin")}
            yield from (((*where, key), message) for name, message in problems({key: value} | plugins) if name == key)


def _is_divided(model: Mapping[str, Any]) -> bool:
    """Tell whether a model has pools of which some compute prompts for others."""
    pools = model.get("pools")
    roles = [pool.get("role") for pool in pools if isinstance(pool, Mapping)] if isinstance(pools, list) else []
    return bool({Role.PREFILL, Role.DECODE} & {role for role in roles if isinstance(role, str)})
