"""Machines to launch on, made of this one: each has a network, processes, /tmp and home of its own, and an sshd.

A namespace holds a bridge and is where the launcher and the apps are; each host is another namespace on that bridge.
The PID namespace is a must: `ray stop` ends every Ray process it can see.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psutil

from tests.integration.launch.ssh_programs import SshPrograms

REPOSITORY = Path(__file__).resolve().parents[3]
CLONE_NEWNET = 0x40000000
NETWORK = "10.0.0"
NETWORK_IPV6 = "fd00:a::"
SSHD_S = 20.0
Result = TypeVar("Result")

# A private /tmp, /dev/shm and /run, and a home at /srv, the same path on all hosts; where the repository is itself in
# /tmp, it stays visible there.
_START = r"""
set -e
mount --make-rprivate /
case "$REPOSITORY" in
/tmp/*) mkdir -p "$FOLDER$REPOSITORY"; mount --rbind "$REPOSITORY" "$FOLDER$REPOSITORY" ;;
esac
mount --rbind "$FOLDER/tmp" /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
mount --bind "$FOLDER/passwd" /etc/passwd
mount --bind "$FOLDER/home" /srv
hostname "$NAME"
cd /
exec "$SSHD" -D -e -f /dev/null -h "$FOLDER/host_key" -o ListenAddress="$ADDRESS" \
  -o ListenAddress="[$ADDRESS_IPV6]:22" -o UsePAM=no -o StrictModes=no \
  -o PidFile=none -o AuthorizedKeysFile=.ssh/authorized_keys -o "SetEnv=$SESSION_ENV"
"""


def why_not_here() -> str:
    """Return why no such hosts can be made on this machine; "": they can."""
    if os.geteuid() != 0:
        return "needs root: hosts are network namespaces"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "needs the programs ip (iproute2) and unshare"
    name = f"rs{os.getpid()}probe"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "this machine does not allow network namespaces (ip netns add)"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


class Host:
    """One machine.

    Attributes:
        address: in the hosts' network.
        address_ipv6: its IPv6 address there.
        namespace: its network namespace.
        link: its end of the cable on the bridge.
        home: its user's home, as this machine sees it.
    """

    def __init__(self, number: int, prefix: str, folder: Path) -> None:
        self.address = f"{NETWORK}.{10 + number}"
        self.address_ipv6 = f"{NETWORK_IPV6}{10 + number}"
        self.namespace = f"{prefix}h{number}"
        self.link = f"host{number}"
        self.folder = folder / f"host{number}"
        self.home = self.folder / "home"
        self.process: subprocess.Popen[bytes] | None = None

    def processes(self) -> list[str]:
        """Return what runs on it, but for its sshd and what that started to be logged in to."""
        return [" ".join(process.info["cmdline"] or [process.info["name"] or "?"])[:200] for process in self._running()]

    def pids(self, title: str) -> set[int]:
        """Return the ids, on this machine, of its processes whose command line has `title` in it."""
        return {process.pid for process in self._running() if title in " ".join(process.info["cmdline"] or ())}

    def kill_all(self) -> None:
        """Kill everything that `processes` lists, at once."""
        for process in self._running():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _running(self) -> list[psutil.Process]:
        if self.process is None:
            return []
        mine = {_pid_namespace(child.pid) for child in psutil.Process(self.process.pid).children()}
        running = psutil.process_iter(["name", "cmdline"])
        logins = {"sshd", "sshd-session"}
        return [each for each in running if _pid_namespace(each.pid) in mine and each.info["name"] not in logins]


class NetnsHosts:
    """A few hosts, and a place to reach them from; all gone at the end of the `with` block.

    Args:
        programs: sshd and its like.
        count: how many hosts.

    Attributes:
        hosts: by number.
        key: the private key that opens them, as root.
        folder: for files of the test, gone at the end.
    """

    def __init__(self, programs: SshPrograms, count: int) -> None:
        self._programs = programs
        self._prefix = f"rs{os.getpid()}"
        self.folder = Path(
            tempfile.mkdtemp(prefix="rackserve-hosts-", dir="/var/tmp")
        )  # not /tmp: hosts have their own
        self.key = self.folder / "key"
        self.hosts = [Host(number, self._prefix, self.folder) for number in range(count)]
        self._bridge = f"{self._prefix}net"
        self._inside: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Make them."""
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything on them."""
        self.close()

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment of a program that launches: finds ssh and rsync, keeps Ray's files in our folder."""
        own = {"RAY_TMPDIR": str(self.folder / "ray"), "TMPDIR": str(self.folder / "ray"), "HOME": str(self.folder)}
        # Ray keeps SSH connections open in a folder that it names by user and cluster, and hosts of two test runs have
        # the same addresses: without a user of its own one run's commands would go to the other's hosts.
        own["LOGNAME"] = self._prefix
        return {**os.environ, **self._programs.env, "PYTHONPATH": str(REPOSITORY), **own, **more}

    def command(self, *command: str) -> list[str]:
        """Return a command that runs `command` where the launcher and the apps are."""
        return ["ip", "netns", "exec", self._bridge, *command]

    def inside(self, work: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:  # noqa: ANN401 - the callable's
        """Call `work` in a thread that is where the launcher and the apps are."""
        if self._inside is None:
            self._inside = ThreadPoolExecutor(4, initializer=_enter, initargs=(self._bridge,))
        return self._inside.submit(work, *args, **kwargs).result()

    def cut(self, host: Host) -> None:
        """Pull a host's network cable."""
        _ip("-n", self._bridge, "link", "set", host.link, "down")

    def heal(self, host: Host) -> None:
        """Plug it in again."""
        _ip("-n", self._bridge, "link", "set", host.link, "up")

    def _make(self) -> None:
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], self._programs)
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host_key")], self._programs)
        (self.folder / "ray").mkdir()
        _ip("netns", "add", self._bridge)
        _ip("-n", self._bridge, "link", "set", "lo", "up")
        _ip("-n", self._bridge, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._bridge, "addr", "add", f"{NETWORK}.1/24", "dev", "bridge")
        _ip("-n", self._bridge, "addr", "add", f"{NETWORK_IPV6}1/64", "dev", "bridge", "nodad")
        _ip("-n", self._bridge, "link", "set", "bridge", "up")
        for host in self.hosts:
            self._connect(host)
            self._boot(host)
        for host in self.hosts:
            self._wait_for_sshd(host)

    def _connect(self, host: Host) -> None:
        _ip("netns", "add", host.namespace)
        _ip(
            "-n",
            self._bridge,
            "link",
            "add",
            host.link,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            host.namespace,
        )
        _ip("-n", self._bridge, "link", "set", host.link, "master", "bridge", "up")
        _ip("-n", host.namespace, "link", "set", "lo", "up")
        _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.namespace, "addr", "add", f"{host.address_ipv6}/64", "dev", "eth0", "nodad")
        _ip("-n", host.namespace, "link", "set", "eth0", "up")
        _ip("-n", host.namespace, "route", "add", "default", "via", f"{NETWORK}.1")

    def _boot(self, host: Host) -> None:
        for place in ("tmp", "home/.ssh"):
            (host.folder / place).mkdir(parents=True)
        (host.folder / "tmp").chmod(0o1777)
        shutil.copy(self.folder / "key.pub", host.folder / "home" / ".ssh" / "authorized_keys")
        shutil.copy(self.folder / "host_key", host.folder / "host_key")
        users = "root:x:0:0:root:/srv:/bin/bash\nsshd:x:65533:65533::/run/sshd:/usr/sbin/nologin\n"
        (host.folder / "passwd").write_text(users, encoding="utf-8")
        session = {**self._programs.env, "PYTHONPATH": str(REPOSITORY)}
        # A login shell sets PATH anew.
        profile = "".join(f"export {name}={value}\n" for name, value in session.items())
        (host.folder / "home" / ".bash_profile").write_text(profile, encoding="utf-8")
        env = {
            **self._programs.env,
            "FOLDER": str(host.folder),
            "REPOSITORY": str(REPOSITORY),
            "NAME": host.link,
            "ADDRESS": host.address,
            "ADDRESS_IPV6": host.address_ipv6,
            "SSHD": self._programs.sshd,
            "SESSION_ENV": " ".join(f"{name}={value}" for name, value in session.items()),
        }
        isolated = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        with (host.folder / "sshd.log").open("wb") as log:
            host.process = subprocess.Popen(
                ["ip", "netns", "exec", host.namespace, *isolated, "bash", "-c", _START],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )

    def _wait_for_sshd(self, host: Host) -> None:
        deadline_s = time.monotonic() + SSHD_S
        while not self.inside(_answers, host.address):
            log = (host.folder / "sshd.log").read_text(encoding="utf-8", errors="replace")
            assert host.process is not None
            assert host.process.poll() is None, f"the sshd of {host.namespace} ended: {log}"
            assert time.monotonic() < deadline_s, f"no sshd on {host.namespace}: {log}"
            time.sleep(0.05)

    def close(self) -> None:
        """End everything on the hosts, and take their networks and files away."""
        if self._inside is not None:
            self._inside.shutdown()
        for host in self.hosts:
            if host.process is not None and host.process.poll() is None:
                os.killpg(host.process.pid, signal.SIGKILL)  # with unshare goes the first process, and so the namespace
                host.process.wait()
        for namespace in (*(host.namespace for host in self.hosts), self._bridge):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _enter(namespace: str) -> None:
    """Move this thread into a network namespace."""
    with Path("/run/netns", namespace).open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1.0):
            return True
    except OSError:
        return False


def _pid_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments], None)


def _run(command: Sequence[str], programs: SshPrograms | None) -> None:
    env = {**os.environ, **(programs.env if programs else {})}
    ended = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stderr}"
