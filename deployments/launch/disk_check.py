"""Checks, before anything starts, that on-premises machines have room for the models that they will download."""

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cluster.errors import SpecError, SpecProblem
from cluster.placement.gang_file import gangs_of_spec
from cluster.planning.disk_room import downloads
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.launch_spec import OnPremLaunch
from cluster.spec.model_spec import ModelSpec
from deployments.launch.ssh_hosts import on_every_worker, workers_by_key

SAYS: Final = "rackserve-room"
"""First word of the lines of the answer, which may have a login shell's own lines around them."""
_LOOK: Final = (
    'look() { d="$2"; if test -d "$d/models--$3/snapshots"; then echo ' + SAYS + ' "$1" here; return; fi; '
    'while ! test -d "$d"; do d=$(dirname "$d"); done; '
    "echo " + SAYS + ' "$1" $(df -Pk "$d" | tail -n 1 | awk \'{print $4}\'); }'
)


def check_disks(launch: OnPremLaunch, spec: ClusterSpec, source: str) -> None:
    """Look whether each model's weights fit on as many machines as its replicas need.

    Only models of known size that take GPUs are looked for, as where others run is not known; one that is in a
    machine's cache already needs no room there.

    Args:
        launch: the cluster file's `launch` section.
        spec: the cluster file.
        source: its name, for errors.

    Raises:
        SpecError: models do not fit; lists each by its key.
    """
    pools = [pool for pool in spec.in_pools() if pool.source in downloads([pool])]
    if not pools:
        return
    said = on_every_worker(launch, f"bash --login -c -i {shlex.quote(room_script(launch, pools))} 2>/dev/null")
    problems = list(room_problems(launch, spec, {key: read_room(ended.text) for key, ended in said.items()}))
    if problems:
        raise SpecError(source, problems)


def room_script(launch: OnPremLaunch, pools: Iterable[ModelSpec]) -> str:
    """Return the shell script that says what room a machine has for each source.

    It says `rackserve-room SOURCE KIB`, or `rackserve-room SOURCE here`.
    """
    looks = []
    for pool in pools:
        arguments = {key.replace("-", "_"): str(value) for key, value in pool.engine_args.items()}
        env = {**launch.env, **pool.env}
        folder = arguments.get("download_dir") or env.get("HF_HUB_CACHE") or _hub(env.get("HF_HOME", ""))
        looks.append(f"look {shlex.quote(pool.source)} {_quoted(folder)} {pool.source.replace('/', '--')}")
    return "; ".join([_LOOK, *dict.fromkeys(looks)])


def _hub(home: str) -> str:
    return f"{home}/hub" if home else "${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}"


def _quoted(folder: str) -> str:
    """Quote a folder for the shell, but for the home directory and the variables of `_hub`."""
    if folder.startswith("${"):
        return f'"{folder}"'
    return f'"$HOME"/{shlex.quote(folder[2:])}' if folder.startswith("~/") else shlex.quote(folder)


def read_room(text: str) -> dict[str, float]:
    """Return the bytes of room for each source; infinite where its files are there already."""
    lines = [line.split() for line in text.splitlines() if line.startswith(f"{SAYS} ")]
    found = {line[1]: line[2] for line in lines if len(line) == 3}  # noqa: PLR2004 - the words of a whole line
    return {
        source: math.inf if room == "here" else int(room) * 1024
        for source, room in found.items()
        if room == "here" or room.isdigit()
    }


def room_problems(
    launch: OnPremLaunch, spec: ClusterSpec, room: Mapping[str, Mapping[str, float]]
) -> Iterator[SpecProblem]:
    """Yield the models for which too few machines have room.

    Args:
        launch: the machines.
        spec: the models.
        room: bytes for each source on each worker, by the worker's key; what is not known there counts as enough.
    """
    gpus_of = {
        f"launch.workers[{position}].hosts[{number}]": group.gpus
        for position, group in enumerate(launch.workers)
        for number in range(group.count)
    }
    hosts = workers_by_key(launch)
    needed: dict[str, int] = {}
    for gang in gangs_of_spec(spec, "min").gangs:
        needed[gang.label] = needed.get(gang.label, 0) + gang.gpus
    for position, model in enumerate(spec.models):
        for source, wanted in downloads([model]).items():
            free = {key: room.get(key, {}).get(source, math.inf) for key, gpus in gpus_of.items() if gpus}
            short = {key: bytes_ for key, bytes_ in free.items() if bytes_ < wanted}
            there = sum(gpus_of[key] for key in free.keys() - short.keys())
            gpus = sum(needed.get(pool.label, 0) for pool in model.in_pools())
            if short and there < gpus:
                where = ", ".join(f"{hosts[key]} has {bytes_ / 1e9:.0f}" for key, bytes_ in short.items())
                yield SpecProblem(
                    f"models[{position}].source",
                    f"{source} takes {wanted / 1e9:.0f} GB on the disk of each machine that serves it: {where}; the "
                    f"machines with room have {there} of the {gpus} GPUs that it needs. Make room, or name another "
                    "disk as HF_HOME in launch.env",
                )
