"""Runs commands on the machines of an on-premises cluster in the way of `ray up`: on the head, and from it on workers.

The head logs in to the workers with the same user and key, so a login that works here works for Ray.
"""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.launch.addresses import hosts_by_key
from cluster.spec.launch_spec import OnPremLaunch, SshSpec

CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 120.0
AT_ONCE = 8
"""Most logins at a time: below the 10 unauthenticated connections that sshd accepts by default (MaxStartups)."""
TARGET = "[%h]:%p"
"""What ssh expands to a worker's address and port; the brackets are for IPv6, and right for all."""


@dataclass(frozen=True, slots=True)
class Said:
    """The result of a command on a host.

    Attributes:
        code: its exit code; 255: SSH itself failed.
        text: its output.
    """

    code: int
    text: str


def workers_by_key(launch: OnPremLaunch) -> dict[str, str]:
    """Return the workers' addresses by their keys in the cluster file, such as `launch.workers[0].hosts[1]`."""
    return {key: host for key, host in hosts_by_key(launch).items() if key != "launch.head.address"}


def on_head(launch: OnPremLaunch, command: str) -> Said:
    """Run a command on the head."""
    return _run([*_ssh(launch.ssh, launch.ssh.proxy_command), _login(launch.ssh, _head(launch)), command])


def on_every_worker(launch: OnPremLaunch, command: str) -> Mapping[str, Said]:
    """Run a command on all workers; return each result by the worker's key."""
    hosts = workers_by_key(launch)
    said = on_workers(launch, command, list(hosts.values()))
    return {key: said[host] for key, host in hosts.items()}


def on_workers(launch: OnPremLaunch, command: str, hosts: Sequence[str]) -> Mapping[str, Said]:
    """Run a command on the workers with these addresses, `AT_ONCE` at a time; return each result by address."""
    hop = [*_ssh(launch.ssh, launch.ssh.proxy_command), "-W", TARGET, _login(launch.ssh, _head(launch))]
    # ssh expands % in a proxy command; those in the hop's own proxy command are for the hop to expand.
    through = shlex.join([part if part == TARGET else part.replace("%", "%%") for part in hop])

    def run(host: str) -> Said:
        return _run([*_ssh(launch.ssh, through), _login(launch.ssh, host), command])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(hosts, pool.map(run, hosts), strict=True))


def _head(launch: OnPremLaunch) -> str:
    return launch.head.external_address or launch.head.address


def _login(ssh: SshSpec, host: str) -> str:
    return f"{ssh.user}@{host}"


def _ssh(ssh: SshSpec, proxy_command: str) -> list[str]:
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "no",  # as `ray up` does
        "UserKnownHostsFile": "/dev/null",
    }
    if proxy_command:
        options["ProxyCommand"] = proxy_command
    return ["ssh", "-i", ssh.private_key, *(part for key in options for part in ("-o", f"{key}={options[key]}"))]


def _run(command: list[str]) -> Said:
    try:
        ended = subprocess.run(  # noqa: S603 - ssh with values checked by `launch_spec`
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Said(255, f"no end within {COMMAND_TIMEOUT_S:g} s")
    return Said(ended.returncode, ended.stdout.strip())
