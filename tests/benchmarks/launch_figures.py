"""How long a launch takes: from `rackserve up` to first tokens, and from a cut link to a rebuilt gang's first token."""

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.integration.launch.launcher import GANG, REAL_MODEL, Launcher
from tests.integration.launch.netns_hosts import NetnsHosts, why_not_here
from tests.integration.launch.ssh_programs import find_programs

FIRST_TOKEN_S = 400.0


@dataclass(frozen=True, slots=True)
class LaunchTimes:
    """One launch of `deployments/examples/racks.yaml` on three network-namespace hosts, in seconds.

    Attributes:
        to_sim_s: from the command to the first token of the simulated gang of four.
        to_vllm_s: likewise, of SmolLM2 on vLLM.
        to_ready_s: until the command said READY.
        moved_s: from the cut link of the rack that has the gang to the first token from the other rack.
        down_s: `rackserve down`.
    """

    to_sim_s: float
    to_vllm_s: float
    to_ready_s: float
    moved_s: float
    down_s: float


def launch_times(runs: int) -> Sequence[LaunchTimes] | str:
    """Launch so often; returns instead, in words, why this machine cannot."""
    reason = why_not_here()
    programs = reason or find_programs()
    if isinstance(programs, str):
        return programs
    times = []
    for _ in range(runs):
        with NetnsHosts(programs, 3) as hosts:
            times.append(_one_launch(Launcher(hosts)))
    return times


def medians(times: Sequence[LaunchTimes]) -> Mapping[str, float]:
    """Return the median of each figure."""
    return {name: statistics.median(getattr(each, name) for each in times) for name in LaunchTimes.__slots__}


def _one_launch(launcher: Launcher) -> LaunchTimes:
    first: dict[str, float] = {}

    def ask(model: str) -> None:
        first[model] = launcher.seconds_to_first_token(model, FIRST_TOKEN_S)

    askers = [threading.Thread(target=partial(ask, model)) for model in (GANG, REAL_MODEL)]
    started_s = time.monotonic()
    for asker in askers:
        asker.start()
    launcher.up()
    to_ready_s = time.monotonic() - started_s
    for asker in askers:
        asker.join()
    broken = launcher.replica_of(GANG)
    (rack,) = launcher.hosts_of_gang(GANG)
    launcher.hosts.cut(rack)
    moved_s = launcher.seconds_to_first_token(GANG, FIRST_TOKEN_S, other_than=broken)
    launcher.hosts.heal(rack)
    started_s = time.monotonic()
    launcher.down()
    return LaunchTimes(first[GANG], first[REAL_MODEL], to_ready_s, moved_s, time.monotonic() - started_s)
