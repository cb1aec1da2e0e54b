"""`rackserve up` and `rackserve down`: start and end a whole cluster from one file, with `ray up`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from cluster.errors import ClusterError
from cluster.launch.addresses import hosts_by_key
from cluster.launch.render import FORGET, head_command
from cluster.spec.launch_spec import OnPremLaunch
from deployments.commands.operate.serve import AWAY, READY_WITHOUT
from deployments.commands.target.gateway_pages import in_url
from deployments.launch.away_machines import why_away
from deployments.launch.disk_check import check_disks
from deployments.launch.host_check import check_hosts
from deployments.launch.ray_up import RayUp
from deployments.launch.ray_up_file import LaunchFile
from deployments.launch.ssh_hosts import on_every_worker, on_head

REMOTE_FILE = "~/rackserve-cluster.yaml"
"""Path of the cluster file on the head."""
STARTING_S = 60
"""Seconds that a start of Ray on a worker, begun before `down`, may still take."""
HEAD_LABELS = {"ray.io/node-group": "head"}
"""Labels of the head in every file of `cluster/launch/`."""


@dataclass
class _StepLog:
    """Prints progress: a line for each step, with the seconds since the start; with `verbose`, Ray's own lines too."""

    console: Console
    verbose: bool
    started_s: float = field(default_factory=time.monotonic)

    def step(self, text: str) -> None:
        self.console.print(f"{time.monotonic() - self.started_s:5.1f} s  {text}", markup=False, highlight=False)

    def line(self, text: str) -> None:
        if self.verbose and text:
            self.console.print(f"        {text}", markup=False, highlight=False)


def render(file: Path) -> None:
    """Print the `ray up` file of a cluster file.

    Raises:
        SpecError: the cluster file cannot be read or has mistakes.
    """
    print(LaunchFile(file).text, end="")  # noqa: T201 - the command's product


def up(file: Path, *, restart: bool, verbose: bool, console: Console) -> None:
    """Start Ray on the machines, deploy `file` and wait until it serves; the last line says where apps connect.

    Run again, it updates a running cluster; what did not change keeps serving.

    Args:
        file: the cluster file.
        restart: stop Ray on the head first, with everything it serves, and begin anew.
        verbose: show what Ray's own commands print.
        console: where progress goes; the READY line goes to stdout.

    Raises:
        SpecError: the file has mistakes, or names a machine that cannot be reached; nothing was started.
        ClusterError: a later step failed; `rackserve down` removes what was started.
    """
    found = LaunchFile(file)
    found.check_this_machine()
    log = _StepLog(console, verbose)
    launch = found.launch
    if isinstance(launch, OnPremLaunch):
        log.step(f"looking at {1 + sum(group.count for group in launch.workers)} machines")
        check_hosts(launch, str(file))
        check_disks(launch, found.spec, str(file))
    config = found.write(forget=restart)
    ray = _ray(found, config, log.line)
    log.step(f"ray up {config}")
    ray.up(restart=restart)
    if restart:
        found.write()
    elif ray.start_head():
        log.step("Ray did not run on the head, and was started there with what it knew")
    log.step("the head is up and starts the workers; deploying")
    ray.put(file, REMOTE_FILE)
    url, without = _deploy(ray, found, log)
    if dict(found.spec.gateway.node_labels) == HEAD_LABELS:
        served = urlsplit(url)
        url = f"{served.scheme}://{in_url(_head_for_apps(found, ray))}:{served.port}"
    log.step(f"ready; OpenAI base URL: {url}/v1")
    if without:
        log.step(f"ready without machines that have not joined ({len(without)}):")
        _say_why_away(without, ray, found, log)
    print(f"READY {url}", flush=True)  # noqa: T201 - programs wait for this line on stdout


def _head_for_apps(found: LaunchFile, ray: RayUp) -> str:
    """Return the head as the file has it: of a name, certificates may speak."""
    launch = found.spec.launch
    if isinstance(launch, OnPremLaunch):
        return launch.head.external_address or launch.head.address
    return ray.head_address()


def _deploy(ray: RayUp, found: LaunchFile, log: _StepLog) -> tuple[str, Sequence[str]]:
    """Run `rackserve serve --detach` on the head and print its progress.

    Returns:
        The URL of its READY line, and the machines that have not joined by then.
    """
    url, is_ours = "", False
    without: Sequence[str] = ()
    # Ray runs commands on the head in a terminal; this variable asks for a line per change, as in a log.
    command = head_command(f"rackserve serve {REMOTE_FILE} --address auto --detach", found.launch)
    for line in ray.on_head(f"export TTY_COMPATIBLE=0; {command}"):
        is_ours = is_ours or line.startswith("Deploying ")  # lines before it are Ray's and the login shell's
        if line.startswith("READY "):
            url = line.removeprefix("READY ").strip()
            is_ours = False
        elif is_ours and line.startswith(READY_WITHOUT):
            without = line.removeprefix(READY_WITHOUT).split(", ")
        elif is_ours and not log.verbose:
            log.console.print(f"         {line}", markup=False, highlight=False)
        if is_ours and AWAY in line and not without:
            _say_why_away(line.partition(AWAY)[2].split(", "), ray, found, log)
    if not url:
        raise ClusterError("the deployment ended without a READY line; see it with --verbose")
    return url, without


def _say_why_away(away: Sequence[str], ray: RayUp, found: LaunchFile, log: _StepLog) -> None:
    """Print why machines have not joined: what is found on them, or Ray's own status of a cloud's machines."""
    launch = found.launch
    if isinstance(launch, OnPremLaunch):
        reasons = why_away(launch, [found.addresses.get(host, host) for host in away])
        lines = [f"{host}: {reason}" for host, reason in zip(away, reasons.values(), strict=True)]
    else:
        status = list(ray.on_head(head_command("ray status", launch)))
        begin = next((at for at, line in enumerate(status) if line.startswith("Pending:")), len(status))
        lines = list(takewhile(lambda line: line.strip() != "Resources", status[begin:]))
    for line in lines:
        log.console.print(f"         {line}", markup=False, highlight=False, soft_wrap=True)


def down(file: Path, *, verbose: bool, console: Console) -> None:
    """Stop Ray on every machine where `up` started it; a cloud's machines are released.

    Raises:
        SpecError: the file cannot be read or has mistakes.
        ClusterError: a machine was not reached, so Ray may still run there.
    """
    found = LaunchFile(file)
    log = _StepLog(console, verbose)
    config = found.path if found.path.is_file() else found.write()
    log.step(f"ray down {config}")
    _ray(found, config, log.line).down()
    launch = found.launch
    if isinstance(launch, OnPremLaunch):
        # Ray 2.60 only marks machines of `provider: local` as gone; their Ray would notice after a minute.
        log.step("stopping Ray on the workers")
        _stop_everywhere(launch)
    found.path.unlink(missing_ok=True)
    found.secrets_path.unlink(missing_ok=True)
    log.step("down")


def _stop_everywhere(launch: OnPremLaunch) -> None:
    # The autoscaler, now gone, may have begun to start Ray on a worker over SSH; such a start runs to its end.
    stop = (
        f"timeout {STARTING_S} bash -c 'while pgrep -f \"[r]ay start --address\" >/dev/null; do sleep 0.2; done'; "
        f"{launch.venv}/bin/ray stop || {launch.venv}/bin/ray stop --force"
    )
    # What the head knows must not come up again in another cluster.
    on_the_head = f"{{ {stop}; }} && {FORGET}"
    hosts = hosts_by_key(launch)
    said = {"launch.head.address": on_head(launch, on_the_head), **on_every_worker(launch, stop)}
    missed = [f"{hosts[key]} ({key}): {ended.text}" for key, ended in said.items() if ended.code]
    if missed:
        raise ClusterError("Ray may still run on " + "; ".join(missed))


def _ray(found: LaunchFile, config: Path, report: Callable[[str], None]) -> RayUp:
    return RayUp(config, is_onprem=isinstance(found.launch, OnPremLaunch), report=report)
