"""`rackserve up` and `rackserve down`: a whole cluster from one file, by `ray up`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from cluster.errors import ClusterError
from cluster.spec.launch_spec import OnPremLaunch
from deployments.launch.host_check import check_hosts
from deployments.launch.ray_up import RayUp
from deployments.launch.ray_up_file import LaunchFile
from deployments.launch.ssh_hosts import on_head, on_workers, workers_by_key

REMOTE_FILE = "~/rackserve-cluster.yaml"
STARTING_S = 60
HEAD_LABELS = {"ray.io/node-group": "head"}
"""What the head has in every file of `cluster/launch/`."""


@dataclass
class _Told:
    """Progress for people: a line a step, with the seconds since the start; Ray's own lines if asked for."""

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
        SpecError: the cluster file is wrong.
    """
    print(LaunchFile(file).text, end="")  # noqa: T201 - the command's product


def up(file: Path, *, restart: bool, verbose: bool, console: Console) -> None:
    """Start the machines' Ray, deploy `file` on it and wait until it serves; its last line says where apps connect.

    Run again it brings a running cluster up to date: what did not change goes on serving.

    Args:
        file: the cluster file.
        restart: stop Ray on the head first, with all that it serves.
        verbose: show what Ray's own commands print.
        console: where progress goes; the READY line goes to stdout.

    Raises:
        SpecError: the file is wrong, or names a machine that cannot be reached; nothing was started.
        ClusterError: something failed on the way; `rackserve down` takes away what was started.
    """
    found = LaunchFile(file)
    found.check_this_machine()
    told = _Told(console, verbose)
    launch = found.launch
    if isinstance(launch, OnPremLaunch):
        told.step(f"looking at {1 + sum(group.count for group in launch.workers)} machines")
        check_hosts(launch, str(file))
    config = found.write()
    ray = _ray(found, config, told.line)
    told.step(f"ray up {config}")
    ray.up(restart=restart)
    told.step("the head is up and starts the workers; deploying")
    ray.put(file, REMOTE_FILE)
    url = _deploy(ray, launch.venv, told)
    if dict(found.spec.gateway.node_labels) == HEAD_LABELS:
        url = f"http://{ray.head_address()}:{urlsplit(url).port}"
    told.step(f"ready; OpenAI base URL: {url}/v1")
    print(f"READY {url}", flush=True)  # noqa: T201 - programs wait for this line on stdout


def _deploy(ray: RayUp, venv: str, told: _Told) -> str:
    """Run `rackserve serve --detach` on the head, tell what it tells, and return the URL it ends with."""
    url, is_ours = "", False
    # A line for each change, as in a log: Ray runs commands on the head in a terminal.
    for line in ray.on_head(f"TTY_COMPATIBLE=0 {venv}/bin/rackserve serve {REMOTE_FILE} --address auto --detach"):
        is_ours = is_ours or line.startswith("Deploying ")  # before it Ray's own words, and the login shell's
        if line.startswith("READY "):
            url = line.removeprefix("READY ").strip()
            is_ours = False
        elif is_ours and not told.verbose:
            told.console.print(f"         {line}", markup=False, highlight=False)
    if not url:
        raise ClusterError("the deployment ended without a READY line; see it with --verbose")
    return url


def down(file: Path, *, verbose: bool, console: Console) -> None:
    """Stop Ray on every machine that `up` started it on; a cloud's machines go.

    Raises:
        SpecError: the file is wrong.
        ClusterError: a machine was not reached, so Ray may run there still.
    """
    found = LaunchFile(file)
    told = _Told(console, verbose)
    config = found.path if found.path.is_file() else found.write()
    told.step(f"ray down {config}")
    _ray(found, config, told.line).down()
    launch = found.launch
    if isinstance(launch, OnPremLaunch):
        # Ray 2.60 marks machines of `provider: local` as gone, and lets their Ray find out by itself, in a minute.
        told.step("stopping Ray on the workers")
        _stop_everywhere(launch)
    found.path.unlink(missing_ok=True)
    told.step("down")


def _stop_everywhere(launch: OnPremLaunch) -> None:
    # The autoscaler that is gone may have been starting Ray on a worker: what it began over SSH goes on to its end.
    stop = (
        f"timeout {STARTING_S} bash -c 'while pgrep -f \"[r]ay start --address\" >/dev/null; do sleep 0.2; done'; "
        f"{launch.venv}/bin/ray stop || {launch.venv}/bin/ray stop --force"
    )
    hosts = {"launch.head.address": launch.head.address, **workers_by_key(launch)}
    said = {"launch.head.address": on_head(launch, stop), **on_workers(launch, stop)}
    missed = [f"{hosts[key]} ({key}): {ended.text}" for key, ended in said.items() if ended.code]
    if missed:
        raise ClusterError("Ray may still run on " + "; ".join(missed))


def _ray(found: LaunchFile, config: Path, report: Callable[[str], None]) -> RayUp:
    return RayUp(config, is_onprem=isinstance(found.launch, OnPremLaunch), report=report)
