"""Whole replicas in processes of their own, each behind a network cable if need be, and a gateway that follows them."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from cluster.spec.model_spec import ModelSpec
from deployments.telemetry.client import TelemetryClient
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint, Signal
from tests.integration.gateway.running_gateway import running_gateway, until
from tests.integration.silence.replica_program import CREDENTIAL

PROGRAM = Path(__file__).with_name("replica_program.py")
ROOT = PROGRAM.parents[3]


class RunningReplica:
    """One replica.

    Args:
        model: what it serves.
        replica_id: its id.
        namespace: the network namespace that it is in; "": this process' own.
        address: the address that it listens on.

    Attributes:
        endpoint: its row of the directory.
    """

    def __init__(self, model: ModelSpec, replica_id: str, namespace: str = "", address: str = "127.0.0.1") -> None:
        self._namespace = namespace
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-u", str(PROGRAM), model.model_dump_json(), replica_id, address],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._replica_id, self._model, self._address = replica_id, model.name, address

    def wait_ready(self) -> Endpoint:
        """Return its row of the directory once it answers."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == [b"READY"]:
                return Endpoint(
                    self._replica_id,
                    self._model,
                    self._address,
                    int(words[1]),
                    int(words[2]),
                    signals=frozenset({Signal.LOAD, Signal.RATES}),
                    continues_messages=True,
                )
        raise AssertionError(f"{self._replica_id} ended before it was ready")

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop its process, until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stopped process run."""
        self.process.send_signal(signal.SIGCONT)

    def cut(self) -> None:
        """Pull its network cable: nothing says so to either side's connections."""
        _ip("-n", self._namespace, "link", "set", "eth0", "down")

    def close(self) -> None:
        """End it, and take its network away."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def running_replicas(model: ModelSpec, count: int, *, behind_cables: bool = False) -> Iterator[list[RunningReplica]]:
    """Run some replicas, named r0, r1, …; with cables, each is in a network of its own."""
    replicas: list[RunningReplica] = []
    with ExitStack() as stack:
        for number in range(count):
            namespace, address = stack.enter_context(_network(number)) if behind_cables else ("", "127.0.0.1")
            replica = RunningReplica(model, f"r{number}", namespace, address)
            stack.callback(replica.close)
            replicas.append(replica)
        yield replicas


@contextmanager
def _network(number: int) -> Iterator[tuple[str, str]]:
    """Make a network namespace with a cable from here to it; yield its name and its address."""
    name = f"rs{os.getpid()}c{number}"
    link = name[-15:]
    near, far = f"10.77.{number}.1", f"10.77.{number}.2"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("addr", "add", f"{near}/24", "dev", link)
        _ip("link", "set", link, "up")
        for each in ("lo", "eth0"):
            _ip("-n", name, "link", "set", each, "up")
        _ip("-n", name, "addr", "add", f"{far}/24", "dev", "eth0")
        yield name, far
    finally:
        # The link first: with the namespace it would go some time later.
        subprocess.run(["ip", "link", "del", link], capture_output=True, check=False)
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    ended = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"ip {' '.join(arguments)}: {ended.stderr}"


@asynccontextmanager
async def gateway_for(
    model: ModelSpec, rows: Sequence[Endpoint], *, hears: bool = True
) -> AsyncIterator[tuple[Gateway, Callable[[Sequence[Endpoint]], None]]]:
    """Run a gateway before replicas, which follows their telemetry as a cluster's gateway does.

    Args:
        model: the model.
        rows: the replicas, as the directory lists them.
        hears: False: it hears no telemetry, as of plain servers.

    Yields:
        The gateway, and what applies another view of the directory.
    """
    async with running_gateway([], models=[model], endpoints=rows, credential=CREDENTIAL) as gateway:
        telemetry = TelemetryClient("gateway-under-test", CREDENTIAL, gateway.apply_report)

        def list_rows(rows: Sequence[Endpoint]) -> None:
            gateway.apply_view(rows)
            if hears:
                telemetry.follow(rows)

        try:
            list_rows(rows)
            if hears:
                await until(lambda: all(row["report"] for row in gateway.state()["models"][model.name]["replicas"]))
            yield gateway, list_rows
        finally:
            await telemetry.stop()
