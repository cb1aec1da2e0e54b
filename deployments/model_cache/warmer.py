"""How commands start an application's warmer, ask it how far it is, and wait for it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import deployments.ray_api as ray_api
from cluster.spec.cluster_spec import ClusterSpec
from deployments.model_cache.here import CacheState
from deployments.model_cache.warmer_actor import Warmer, kept_name

POLL_S: Final = 1.0
"""Seconds between two questions while one waits."""
SAY_S: Final = 5.0
"""Seconds between two lines about a download that goes on."""
START_S: Final = 60.0
"""Seconds within which Ray starts an actor."""
States = Mapping[str, Sequence[CacheState]]
"""What each node has and will have, by its address."""


def actor_name(application: str) -> str:
    """Return the name of the warmer of an application."""
    return f"warmer:{application}"


def start_warmer(spec: ClusterSpec) -> None:
    """Have the nodes of an application download what its cluster file wants, from now on.

    Raises:
        ClusterError: Ray's head is away.
    """
    name = spec.cluster.name
    ray_api.keep_text(kept_name(name), spec.model_dump_json(exclude_defaults=True))
    _actor(name).call_now("look", timeout_s=START_S)


def states_now(application: str) -> States:
    """Return how far the nodes are; empty if nothing is warmed.

    Raises:
        ClusterError: the warmer is away.
    """
    if actor_name(application) not in ray_api.actor_names():
        return {}
    found: States = ray_api.existing_actor(actor_name(application)).call_now("states")
    return found


def wait_until_warm(
    application: str,
    report: Callable[[str], None],
    is_stopping: Callable[[], bool],
    is_gathering: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until each node that there is has what it may run, or cannot have it; what failed is reported, not raised.

    Args:
        application: whose.
        report: called with a line for each change.
        is_stopping: asked again and again; True ends the wait.
        is_gathering: True: more nodes are about to join, so wait for them, too.

    Raises:
        ClusterError: Ray's head is away.
    """
    actor = _actor(application)
    first_look = actor.call_now("look", timeout_s=START_S)
    last: tuple[str, ...] = ()
    last_settled, said_s = -1, 0.0
    while not is_stopping():
        has_looked = actor.call_now("look") > first_look + 1  # a whole look later: all nodes of now are in it
        states: States = actor.call_now("states")
        settled = [state.is_settled for node in states.values() for state in node]
        lines = tuple(lines_of(states))
        if sum(settled) != last_settled or (lines != last and time.monotonic() - said_s >= SAY_S):
            for line in lines:
                if line not in last:
                    report(line)
            last, last_settled, said_s = lines, sum(settled), time.monotonic()
        if has_looked and not is_gathering() and all(settled):
            return
        time.sleep(POLL_S)


def lines_of(states: States) -> list[str]:
    """Return a line for each model: on how many nodes it is, how far the others are, and why any has it not."""
    by_name: dict[str, dict[str, CacheState]] = {}
    for address, found in states.items():
        for state in found:
            by_name.setdefault(state.name, {})[address] = state
    lines = []
    for name, nodes in by_name.items():
        ready = sum(state.ready_s is not None for state in nodes.values())
        line = f"weights of {name}: on {ready} of {len(nodes)} machines"
        loading = [state for state in nodes.values() if not state.is_settled and state.total_bytes]
        if loading:
            done, total = sum(state.done_bytes for state in loading), sum(state.total_bytes for state in loading)
            line += f", {len(loading)} downloading ({done / total:.0%} of {total / 1e9:.1f} GB)"
        problems: dict[str, list[str]] = {}
        for address, state in nodes.items():
            if state.problem:
                problems.setdefault(state.problem, []).append(address)
        lines.append(line)
        lines += [f"weights of {name}: not on {', '.join(at)}: {problem}" for problem, at in problems.items()]
    return lines


def stop_warmer(application: str) -> None:
    """End the warmer, if there is one; a download under way may run to its end."""
    ray_api.kill_actor(actor_name(application))
    ray_api.forget_text(kept_name(application))


def _actor(application: str) -> ray_api.ActorRef:
    return ray_api.durable_actor(Warmer, actor_name(application), application, on_head=True)
