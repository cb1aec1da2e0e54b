"""`rackserve up` and `down` on namespace hosts, and what apps then get from the endpoint."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.integration.launch.netns_hosts import REPOSITORY, Host, NetnsHosts

RACKSERVE = str(Path(sys.executable).with_name("rackserve"))
MODEL_CACHE = str(Path("~/.cache/rackserve").expanduser())
COMMAND_S = 400.0


class Launcher:
    """One cluster file on some hosts: the first is the head, each other one a rack of its own.

    Args:
        hosts: to launch on.
        models: the cluster file's models, as YAML lines.
        gpus: logical ones of each worker.
    """

    def __init__(self, hosts: NetnsHosts, models: str, *, gpus: int = 4) -> None:
        self.hosts = hosts
        self.head, *self.workers = hosts.hosts
        self.file = hosts.folder / "racks.yaml"
        self.url = f"http://{self.head.address}:8000"
        groups = "".join(
            f"  - {{name: rack-{rack}, domain: rack-{rack}, hosts: [{host.address}], gpus: {gpus}, cpus: 8}}\n"
            for rack, host in enumerate(self.workers)
        )
        self.text = f"""
cluster: {{name: racks}}
gateway: {{node_labels: {{ray.io/node-group: head}}}}
models:
{models}
launch:
  provider: onprem
  venv: {Path(sys.prefix)}
  env: {{PYTHONPATH: {REPOSITORY}, RACKSERVE_CACHE: {MODEL_CACHE}}}
  ssh: {{user: root, private_key: {hosts.key}}}
  head: {{address: {self.head.address}}}
  workers:
{groups}"""
        self.file.write_text(self.text, encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `rackserve` where the launcher is."""
        return subprocess.run(
            self.hosts.command(RACKSERVE, *arguments),
            env=self.hosts.env(NO_COLOR="1", COLUMNS="200"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def up(self) -> str:
        """Launch; return the READY line's URL."""
        ended = self.run("up", str(self.file))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        *_, last = ended.stdout.splitlines()
        assert last.startswith("READY "), ended.stdout
        return last.removeprefix("READY ")

    def down(self) -> None:
        """End it."""
        ended = self.run("down", str(self.file))
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def chat(self, model: str, text: str = "hello", timeout_s: float = 30.0, **more: Any) -> httpx.Response:  # noqa: ANN401 - request fields
        """Ask a model once, as an app does."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}
        headers = {"x-rackserve-explain": "1"}
        url = f"{self.url}/v1/chat/completions"
        return self.hosts.inside(httpx.post, url, json=body, headers=headers, timeout=timeout_s)

    def replicas(self, model: str) -> list[Mapping[str, Any]]:
        """Return a model's replicas as the gateway sees them."""
        state = self.hosts.inside(httpx.get, f"http://{self.head.address}:8002/state", timeout=10.0).json()
        found: list[Mapping[str, Any]] = state["models"][model]["replicas"]
        return found

    def host_of(self, model: str) -> Host:
        """Return where a model's only replica answers from."""
        (replica,) = self.replicas(model)
        address = str(replica["host"])
        return next(host for host in self.hosts.hosts if host.address == address)

    def seconds_until_answered(self, model: str, timeout_s: float) -> float:
        """Ask again and again until a model answers; return the seconds that took."""
        started_s = time.monotonic()
        while True:
            left_s = timeout_s - (time.monotonic() - started_s)
            assert left_s > 0, f"{model} did not answer within {timeout_s:g} s"
            try:
                if self.chat(model, timeout_s=min(left_s, 5.0), max_tokens=1).status_code == httpx.codes.OK:
                    return time.monotonic() - started_s
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
