"""`rackserve up` and `down` on namespace hosts, and what apps then get from the endpoint."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.integration.launch.netns_hosts import REPOSITORY, Host, NetnsHosts

RACKSERVE = str(Path(sys.executable).with_name("rackserve"))
EXAMPLE = REPOSITORY / "deployments" / "examples" / "racks.yaml"
OPERATORS_KEY = "key-of-the-operators"
GANG = "gang-of-4"
REAL_MODEL = "smollm2-135m-instruct"
MODEL_CACHE = str(Path("~/.cache/rackserve").expanduser())
COMMAND_S = 600.0
WHERE_GANGS_STAND = """
import json
import deployments.ray_api as ray_api
from deployments.gang_placement.live_cluster import standing_gangs
ray_api.connect("auto")
address = {machine.node_id: machine.address for machine in ray_api.machines()}
print(json.dumps({name: [address.get(node, "") for node in gang.nodes] for name, gang in standing_gangs().items()}))
ray_api.disconnect()
"""


WHY_AWAY = """
import json, sys
from pathlib import Path
from deployments.launch.away_machines import why_away
from deployments.launch.ray_up_file import LaunchFile
print(json.dumps(list(why_away(LaunchFile(Path(sys.argv[1])).launch, sys.argv[2:]).values())))
"""


class Launcher:
    """The example cluster file on three hosts, which have its addresses: a head and two racks of one machine.

    Their key is another one, and this environment is RackServe's on every host: there is no network to install from.

    Args:
        hosts: to launch on.
    """

    def __init__(self, hosts: NetnsHosts) -> None:
        self.hosts = hosts
        self.head, *self.workers = hosts.hosts
        self.url = f"http://{self.head.address}:8000"
        self.file = hosts.folder / EXAMPLE.name
        lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
        instead = {
            "package:": f"venv: {Path(sys.prefix)}",
            "python:": f"env: {{PYTHONPATH: {REPOSITORY}, RACKSERVE_CACHE: {MODEL_CACHE}}}",
            "node_labels:": "node_labels: {ray.io/node-group: head}\n"
            f"  admin_key_sha256: {sha256(OPERATORS_KEY.encode()).hexdigest()}",
            "ssh:": f"ssh: {{user: root, private_key: {hosts.key}}}",
        }
        self.text = "\n".join(
            f"  {instead.get(line.split()[0], line.strip())}" if _replaced(line) else line for line in lines
        )
        self.file.write_text(self.text, encoding="utf-8")

    def simulate_only(self) -> None:
        """Leave the simulated gang alone in the file, which starts in seconds."""
        spec = yaml.safe_load(self.text)
        spec["models"] = [model for model in spec["models"] if model["name"] == GANG]
        self.text = yaml.safe_dump(spec, sort_keys=False)
        self.file.write_text(self.text, encoding="utf-8")

    def by_ipv6(self) -> None:
        """Put the machines' IPv6 addresses into the file, which may be written in any form, and into our URL."""
        spec = yaml.safe_load(self.text)
        spec["gateway"]["host"] = "::"
        spec["launch"]["head"]["address"] = f"[{self.head.address_ipv6.upper()}]"
        for group, worker in zip(spec["launch"]["workers"], self.workers, strict=True):
            group["hosts"] = [worker.address_ipv6]
        self.url = f"http://[{self.head.address_ipv6}]:8000"
        self.text = yaml.safe_dump(spec, sort_keys=False)
        self.file.write_text(self.text, encoding="utf-8")

    def on_head(self, *command: str) -> str:
        """Run a command on the head, as its user logs in; return what it prints."""
        login = ["ssh", "-i", str(self.hosts.key), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
        login += ["-o", "UserKnownHostsFile=/dev/null", f"root@{self.head.address}"]
        ended = subprocess.run(
            self.hosts.command(*login, shlex.join(command)),
            env=self.hosts.env(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def serve_instead(self, models: Sequence[Mapping[str, Any]], **gateway: Any) -> None:  # noqa: ANN401 - spec values
        """Have other models in the file, and other values for its gateways."""
        spec = yaml.safe_load(self.text)
        spec["models"] = list(models)
        spec["gateway"] = {"admin_key_sha256": spec["gateway"]["admin_key_sha256"], **gateway}
        spec["launch"]["head"].pop("cpus", None)
        self.text = yaml.safe_dump(spec, sort_keys=False)
        self.file.write_text(self.text, encoding="utf-8")

    def set_env(self, **variables: str) -> None:
        """Have these variables in `launch.env`, too."""
        spec = yaml.safe_load(self.text)
        spec["launch"]["env"] |= variables
        self.text = yaml.safe_dump(spec, sort_keys=False)
        self.file.write_text(self.text, encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `rackserve` where the launcher is."""
        return subprocess.Popen(
            self.hosts.command(RACKSERVE, *arguments),
            env=self.hosts.env(NO_COLOR="1", COLUMNS="200", RACKSERVE_ADMIN_KEY=OPERATORS_KEY),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `rackserve` to its end."""
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=COMMAND_S)
            except subprocess.TimeoutExpired as error:
                said = f"{error.stdout!r}\n{error.stderr!r}"
                raise AssertionError(f"{arguments} has not ended after {COMMAND_S:g} s: {said}") from error
            finally:
                process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def why_away(self, text: str, *hosts: Host) -> list[str]:
        """Return why each host is not a node of Ray, by a cluster file with this content."""
        file = self.file.with_name("asked.yaml")
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", WHY_AWAY, str(file), *(host.address for host in hosts)]
        ended = subprocess.run(
            self.hosts.command(*command), env=self.hosts.env(), capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stderr
        found: list[str] = json.loads(ended.stdout)
        return found

    def up(self) -> str:
        """Launch; return the READY line's URL."""
        ended = self.run("up", str(self.file))
        print(ended.stderr)  # noqa: T201 - what pytest shows when something fails
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
        url = f"{self.url}/v1/chat/completions"
        headers = {"x-rackserve-explain": "1"}
        return self.hosts.inside(httpx.post, url, json=body, headers=headers, timeout=timeout_s)

    def replicas(self, model: str) -> list[Mapping[str, Any]]:
        """Return a model's replicas as the gateway sees them."""
        found: list[Mapping[str, Any]] = self.page(self.head, "state")["models"][model]["replicas"]
        return found

    def page(self, host: Host, page: str) -> Mapping[str, Any]:
        """Return an operators' page of the gateway on a host.

        Raises:
            httpx.HTTPError: there is none.
        """
        headers = {"authorization": f"Bearer {OPERATORS_KEY}"}
        answer = self.hosts.inside(httpx.get, f"http://{host.address}:8002/{page}", headers=headers, timeout=10.0)
        found: Mapping[str, Any] = answer.json()
        return found

    def replica_of(self, model: str) -> str:
        """Return the id of a model's only replica."""
        (replica,) = self.replicas(model)
        return str(replica["replica_id"])

    def hosts_of_gang(self, model: str) -> list[Host]:
        """Return the hosts that a model's only gang has its GPUs on, as Ray's own tables have it."""
        told = json.loads(self.on_head(sys.executable, "-c", WHERE_GANGS_STAND))
        (addresses,) = (at for name, at in told.items() if name.startswith(f"{model}#"))
        return [host for host in self.hosts.hosts if host.address in addresses]

    def seconds_to_first_token(self, model: str, timeout_s: float, *, other_than: str = "") -> float:
        """Ask again and again until a model answers with a token; return the seconds that took.

        Args:
            model: to ask.
            timeout_s: after which it is given up.
            other_than: a replica whose answers do not count.
        """
        started_s = time.monotonic()
        while True:
            left_s = timeout_s - (time.monotonic() - started_s)
            assert left_s > 0, f"{model} did not answer within {timeout_s:g} s"
            try:
                answer = self.chat(model, timeout_s=min(left_s, 5.0), max_tokens=1)
                if (
                    answer.status_code == httpx.codes.OK
                    and answer.json()["usage"]["completion_tokens"] == 1
                    and answer.headers["x-rackserve-replica"] != other_than
                ):
                    return time.monotonic() - started_s
            except httpx.HTTPError:
                pass
            time.sleep(0.1)


def _replaced(line: str) -> bool:
    return line.startswith(("  package:", "  python:", "  ssh:", "  node_labels:"))
