"""A pod of the gateways' Deployment, as a process: the very command of its container, joining the tests' Ray."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.free_ports import free_port
from tests.integration.helm.chart import pods
from tests.integration.helm.serve_api import ServeApi

END_S = 60.0


@contextmanager
def joining_pod(api: ServeApi, values: Path) -> Iterator[None]:
    """Run what a gateway pod of `values` runs, waiting for the head included; it is a Ray node until the block ends.

    Ports of Ray's own, which pods have to themselves, are free ones here; where Ray is and its token are the test's.
    """
    pod = pods(values)["gateway"]
    (waiting,), (container,) = pod["initContainers"], pod["containers"]
    own = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
    env = {**own, **api.env, "HOME": os.environ["HOME"]}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        [*waiting["command"], *waiting["args"]], env=env, check=True, timeout=END_S, stdout=subprocess.DEVNULL
    )
    (script,) = container["args"]
    script = re.sub(r"(--(?:metrics-export|dashboard-agent-listen)-port)=[0-9]+", _own_port, script)
    process = subprocess.Popen([*container["command"], script], env=env, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)  # what Kubernetes sends once the `preStop` hook is through
        try:
            process.wait(END_S)
        finally:
            process.kill()


def _own_port(flag: re.Match[str]) -> str:
    return f"{flag[1]}={free_port()}"
