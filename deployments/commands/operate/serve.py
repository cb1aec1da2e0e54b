"""`rackserve serve`: runs a cluster file in the foreground until a signal stops it."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cluster.errors import ClusterError, ClusterUnreachableError, SpecError, SpecProblem
from cluster.spec.cluster_spec import ClusterSpec
from deployments.launch.application import POLL_S, Launch
from deployments.launch.preflight import check_here
from deployments.launch.progress import Progress
from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.source import fetch
from deployments.replica.read_spec import read_spec
from router.http.access_control.open_door import open_door

WATCH_S = 2.0
"""Seconds between two looks at a serving application."""
AWAY_S = 15.0
"""Seconds after which machines that have not joined are named; a start of Ray on a machine takes about 10."""
AWAY = "machines that have not joined: "
"""Begins the line that names them, for `rackserve up`, which looks why."""
READY_WITHOUT = "ready without machines that have not joined: "
"""Begins the line, before READY, that names those that a file's models can do without."""
MISSES = 3
"""Failed looks in a row after which the application counts as lost; fewer may be a restart of Serve's controller."""


def serve(file: Path, address: str, *, verbose: bool, console: Console) -> None:
    """Serve `file` until SIGINT or SIGTERM.

    Args:
        file: the cluster file.
        address: the address of a running Ray cluster; "": start one on this machine.
        verbose: show the workers' logs.
        console: where progress goes; the READY line goes to stdout.

    Raises:
        RackServeError: the file could not be served.
    """
    spec = read_spec(file)
    if not address:
        check_here(spec, str(file))
        fetch_builtin_models(spec, console)
    launch = Launch(spec, address, quiet=not verbose)
    with stop_signals() as is_stopping:
        try:
            console.print(f"Starting {spec.cluster.name}" + (f" on the Ray cluster at {address}" if address else ""))
            launch.start(is_stopping, _line_to(console))
            with progress_lines(console) as report:
                url = launch.wait_until_ready(report, is_stopping)
            if url:
                _say_away(launch, console)
                _say_ready(url, spec, console)
                watch(launch, console, is_stopping)
        finally:
            console.print("Stopping: running requests may finish …")
            launch.stop()
            console.print("Stopped.")
            end_if_abandoned(launch)


def deploy(file: Path, address: str, *, verbose: bool, console: Console) -> None:
    """Serve `file` on a running Ray cluster and leave it serving; after a failure, what was deployed stays too.

    Args:
        file: the cluster file.
        address: the Ray cluster's address.
        verbose: show the workers' logs.
        console: where progress goes; the READY line goes to stdout.

    Raises:
        RackServeError: the file could not be served.
    """
    spec = read_spec(file)
    if not address:
        raise SpecError("options", [SpecProblem("--detach", "needs --address: a Ray that starts here ends with us")])
    launch = Launch(spec, address, quiet=not verbose, is_url_for_others=True)
    with stop_signals() as is_stopping:
        try:
            console.print(f"Deploying {spec.cluster.name} on the Ray cluster at {address}")
            launch.start(is_stopping, _line_to(console))
            with progress_lines(console) as report:
                url = launch.wait_until_ready(report, is_stopping)
            if url:
                _say_away(launch, console)
        finally:
            launch.leave()
    if not url:
        raise ClusterError(f"stopped before {spec.cluster.name} served; what is deployed goes on starting")
    _say_ready(url, spec, console)


def _line_to(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)


def _say_away(launch: Launch, console: Console) -> None:
    with contextlib.suppress(ClusterError):  # it serves; only this is not known
        if away := launch.away():
            console.print(READY_WITHOUT + ", ".join(away), markup=False, highlight=False, soft_wrap=True)


def _say_ready(url: str, spec: ClusterSpec, console: Console) -> None:
    print(f"READY {url}", flush=True)  # noqa: T201 - programs wait for this line on stdout
    console.print(f"OpenAI base URL: {url}/v1   models: {', '.join(m.name for m in spec.models)}")
    if opened := open_door(spec.gateway):
        console.print(f"The gateway is {opened}.", soft_wrap=True)


def end_if_abandoned(launch: Launch) -> None:
    """End this process at once if its threads hang in calls to a killed Ray, as after a signal to the process group."""
    if launch.is_abandoned:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def fetch_builtin_models(spec: ClusterSpec, console: Console) -> None:
    """Build the built-in models that a spec names, once, before several replicas need them."""
    for source in sorted({model.source for model in spec.models if model.engine == "vllm"} & BUILTIN_MODELS.keys()):
        fetch(source, console.print)


def watch(launch: Launch, console: Console, is_stopping: Callable[[], bool]) -> None:
    """Print changes of the number of ready replicas, until `is_stopping` is true.

    Raises:
        ClusterError: the application is lost.
    """
    last: dict[str, int] = {}
    missed = 0
    checked_s = 0.0
    while not is_stopping():
        time.sleep(POLL_S / 2)
        if time.monotonic() - checked_s < WATCH_S:
            continue
        checked_s = time.monotonic()
        try:
            models = launch.models()
        except ClusterUnreachableError:
            if is_stopping():
                return
            raise
        except ClusterError:
            missed += 1
            if missed == MISSES:
                raise
            continue
        missed = 0
        for name, model in models.items():
            if last.get(name, model.wanted) != model.ready:
                console.print(f"{name}: {model.ready} of {model.wanted} replicas ready {model.message}".rstrip())
            last[name] = model.ready


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM has come; a second signal raises KeyboardInterrupt."""
    asked = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}

    def is_stopping() -> bool:
        # Ray installs its own handler of SIGTERM when it connects; install ours again.
        if signal.getsignal(signal.SIGTERM) is not on_signal:
            signal.signal(signal.SIGTERM, on_signal)
        return asked.is_set()

    try:
        yield is_stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_lines(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress: on a terminal in one line that changes, elsewhere a line per change."""
    started_s = time.monotonic()
    last_text = ""
    last_away: tuple[str, ...] = ()
    printed: set[str] = set()

    with console.status("waiting for Ray Serve") as status:

        def report(progress: Progress) -> None:
            nonlocal last_text, last_away
            for name, model in progress.models.items():
                if model.message and model.message not in printed:
                    printed.add(model.message)
                    console.print(f"{name}: {model.message}", markup=False)
            for name, reason in progress.missing.items():
                if reason not in printed:
                    printed.add(reason)
                    line = f"{name} waits for machines that are not there: {reason}"
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
            if progress.away != last_away and time.monotonic() - started_s >= AWAY_S:
                last_away = progress.away
                if last_away:
                    console.print(AWAY + ", ".join(last_away), markup=False, highlight=False, soft_wrap=True)
            parts = [f"{name} {model.ready}/{model.wanted}" for name, model in progress.models.items()]
            text = f"replicas ready: {', '.join(parts)}; gateways: {progress.gateways}"
            status.update(f"{text} ({time.monotonic() - started_s:.0f} s)")
            if text != last_text and not console.is_terminal:
                console.print(f"{time.monotonic() - started_s:5.1f} s  {text}")
            last_text = text

        yield report
