"""`rackserve logs`: prints the logs of a model's replicas, from whatever machines they run on."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.text import Text

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.spec.model_spec import label_of
from deployments import app
from deployments.commands.target.applications import applications_with, pools_of

POLL_S: Final = 1.0
"""Seconds between two looks at the logs that are followed."""


@dataclass(slots=True)
class _Followed:
    """One replica's log, read up to some byte of each file; of a lost machine nothing can be read any more."""

    process: ray_api.ReplicaProcess
    ends: dict[str, int] = field(default_factory=dict)
    is_lost: bool = False


def logs(  # noqa: PLR0913 - the command's options
    model: str, address: str, *, pool: str, replica: str, lines: int, follow: bool, console: Console
) -> None:
    """Print logs; with `follow`, until interrupted.

    Args:
        model: the model's name.
        address: the Ray cluster's address.
        pool: the name of one of its pools; "": all.
        replica: the id of one replica; "": all that live, or if none does, the one that ended last.
        lines: most lines of each of a replica's files to begin with.
        follow: go on with what is written later, also by replicas that start later.
        console: where to print.

    Raises:
        ClusterUnreachableError: there is no Ray cluster at `address`, or no RackServe on it.
        ClusterError: no application has the model, or there is no such pool or replica.
    """
    ray_api.connect(address)
    try:
        applications = applications_with(model)
        deployments = _deployments(applications, model, pool)
        known: dict[str, _Followed] = {}
        readers: dict[str, ray_api.LogReader] = {}
        while True:
            chosen = _chosen(label_of(model, pool), deployments, replica)
            if not chosen and not known:
                raise ClusterError(
                    f"no replica of {label_of(model, pool)} has started yet; `rackserve status` says what it waits for"
                )
            for process in chosen:
                if process.replica_id not in known and not process.is_alive:
                    _say(console, f"replica {process.replica_id} has ended; its log:")
                known.setdefault(process.replica_id, _Followed(process))
            for line in _new_lines(known.values(), readers, lines, is_prefixed=len(known) > 1):
                _say(console, line)
            if not follow:
                return
            time.sleep(POLL_S)
    finally:
        ray_api.disconnect()


def _deployments(applications: Sequence[str], model: str, pool: str) -> list[tuple[str, str]]:
    """Return the application and the name of each deployment whose logs are asked for."""
    found = [(application, each) for application in applications for each in pools_of(application, model)]
    chosen = [(application, each) for application, each in found if not pool or each == pool]
    if not chosen:
        there = ", ".join(sorted({each for _, each in found if each}))
        raise ClusterError(f"{model} has no pool {pool!r}; {f'there is {there}' if there else 'it has no pools'}")
    return [(application, app.deployment_name(model, each)) for application, each in chosen]


def _chosen(label: str, deployments: Sequence[tuple[str, str]], replica: str) -> list[ray_api.ReplicaProcess]:
    found = [
        process
        for application, deployment in deployments
        for process in ray_api.replica_processes(application, deployment)
        if process.node_id and process.pid
    ]
    found.sort(key=lambda process: process.started_ms)
    if replica:
        chosen = [process for process in found if process.replica_id == replica]
        if not chosen:
            there = ", ".join(process.replica_id for process in found) or "none"
            raise ClusterError(f"{label} has no replica {replica!r}; there is {there}")
        return chosen
    return [process for process in found if process.is_alive] or found[-1:]


def _new_lines(
    followed: Iterable[_Followed], readers: dict[str, ray_api.LogReader], lines: int, *, is_prefixed: bool
) -> Iterator[str]:
    on_node: dict[str, list[_Followed]] = defaultdict(list)
    for each in followed:
        if not each.is_lost:
            on_node[each.process.node_id].append(each)
    for node_id, theirs in on_node.items():
        reader = readers.setdefault(node_id, ray_api.LogReader(node_id))
        for each in theirs:
            try:
                parts = reader.read(each.process, each.ends, lines)
            except ClusterError as error:
                each.is_lost = True
                yield str(error)
                continue
            for name, part in parts.items():
                each.ends[name] = part.end
                prefix = f"{each.process.replica_id} " if is_prefixed else ""
                yield from (prefix + line for line in part.text.splitlines())


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
