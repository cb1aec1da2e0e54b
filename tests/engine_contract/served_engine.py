"""The test's side of `engine_server.py`."""

import contextlib
import importlib.machinery
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from tests.machine_speed import slowness

SERVER = Path(__file__).with_name("engine_server.py")
ROOT = SERVER.parents[2]
NIXL = ROOT / ".cache/nixl"
"""Where `.setup/nixl` puts NIXL, apart from the environment that everything else runs in."""
NEEDS_NIXL = pytest.mark.skipif(
    not importlib.machinery.PathFinder.find_spec("nixl", [str(NIXL)]),
    reason="NIXL is not in .cache/nixl: .setup/nixl fetches it where the package index has it",
)
TORCHVISION = ROOT / ".cache/torchvision"
"""Where `.setup/torchvision` puts what vLLM's models with images import."""
NEEDS_TORCHVISION = pytest.mark.skipif(
    not importlib.machinery.PathFinder.find_spec("torchvision", [str(TORCHVISION)]),
    reason="torchvision is not in .cache/torchvision: .setup/torchvision fetches it where the package index has it",
)
START_TIMEOUT_S = 540.0
"""vLLM is ready after 40 to 80 s of an idle machine's time; a busy one takes several times as long."""


def metric_in(page: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels on a page of `/metrics`; 0: there are none."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in page.splitlines() if re.match(rf"{re.escape(name)}[{{ ]", line)]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(each in line for each in wanted))


class ServedEngine:
    """An engine in a process of its own.

    Args:
        model: what to serve.
        log: where it writes what it has to say.
        role: what it does of a request.
        hosts: addresses of the hosts that it knows of, for media; None: the system's, and the model sees nothing.

    Attributes:
        model: what is served.
        process: the process that serves it.
        log: where it writes what it has to say.
    """

    def __init__(
        self, model: ModelSpec, log: Path, role: Role = Role.BOTH, hosts: Mapping[str, str] | None = None
    ) -> None:
        self.model = model
        self.log = log
        known = [",".join(f"{host}={address}" for host, address in hosts.items())] if hosts else []
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-u", str(SERVER), model.model_dump_json(), role, *known],
                stdout=said,
                stderr=said,
                cwd=ROOT,
                env={
                    "PYTHONPATH": f"{ROOT}:{NIXL}:{TORCHVISION}" if hosts else f"{ROOT}:{NIXL}",
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(Path.home()),
                },
            )
        self.url = ""

    def wait_ready(self) -> Self:
        """Return once it answers."""
        port = self.wait_logged(r"^READY (\d+)$")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def wait_logged(self, pattern: str) -> str:
        """Return the pattern's group once the log has it."""
        give_up = time.monotonic() + START_TIMEOUT_S
        while (found := re.search(pattern, self.log.read_text(), re.MULTILINE)) is None:
            assert self.process.poll() is None, f"the engine has ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < give_up, f"not in {START_TIMEOUT_S} s:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)
        return found.group(1)

    def close(self) -> None:
        """Stop the engine, so that it leaves no files, then end the process, and make sure of it."""
        if self.url and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                self.view("stop")
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels, from `/metrics`; 0: there are none."""
        return metric_in(httpx.get(f"{self.url}/metrics", follow_redirects=True, timeout=30).text, name, **labels)

    def view(self, name: str) -> Any:  # noqa: ANN401 - each view's own shape
        """Return what a replica sees: stats, events (taken), health, children, or stop."""
        return httpx.get(f"{self.url}/contract/{name}", timeout=30).json()

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Post JSON."""
        return httpx.post(self.url + path, json=body, headers=headers, timeout=120)

    def chat(self, content: str, **more: object) -> dict[str, Any]:
        """Return the response to a chat of one message, greedily decoded."""
        return self.ok("/v1/chat/completions", messages=[{"role": "user", "content": content}], **more)

    def complete(self, prompt: object, **more: object) -> dict[str, Any]:
        """Return the response to a completion request, greedily decoded."""
        return self.ok("/v1/completions", prompt=prompt, **more)

    def ok(self, path: str, **body: object) -> dict[str, Any]:
        """Post a request that must succeed; return its response."""
        response = self.post(path, {"model": self.model.name, "temperature": 0, **body})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def claims(self, path: str, body: dict[str, Any], rank: int = 0) -> dict[str, int]:
        """Return what a replica claims to be cached of a request's prompt, on one of its ranks."""
        asked = {"path": path, "body": json.dumps({"model": self.model.name, **body}), "rank": rank}
        found: dict[str, int] = self.post("/contract/claims", asked).json()
        return found

    def set_adapters(self, **sources: str) -> dict[str, Any]:
        """Have it serve exactly these adapters, by name; return what it says of them."""
        found: dict[str, Any] = self.post("/contract/set-adapters", sources).json()
        return found

    def wait_stats(self, reached: Callable[[dict[str, Any]], bool], within_s: float) -> dict[str, Any]:
        """Return the first stats for which `reached`; fail if that takes longer than `within_s` of a usual machine."""
        give_up = time.monotonic() + within_s * slowness()
        while True:
            stats: dict[str, Any] = self.view("stats")
            if reached(stats):
                return stats
            assert time.monotonic() < give_up, f"after {within_s} s still {stats}"
            time.sleep(0.01)


@dataclass
class Streamed:
    """A stream of events, read to its end.

    Attributes:
        events: the JSON of each, without the closing `[DONE]`.
        done: it ended with `[DONE]`.
    """

    events: list[dict[str, Any]]
    done: bool

    def text(self, index: int = 0) -> str:
        """Return a choice's text, put together."""
        choices = [choice for event in self.events for choice in event["choices"] if choice["index"] == index]
        return "".join(_said(choice) for choice in choices)

    def finish_reason(self, index: int = 0) -> str | None:
        """Return why a choice ended."""
        reasons: list[str] = [
            choice["finish_reason"]
            for event in self.events
            for choice in event["choices"]
            if choice["index"] == index and choice["finish_reason"]
        ]
        assert len(reasons) == 1, f"a choice ends once, not {reasons}"
        return reasons[0]


def _said(choice: dict[str, Any]) -> str:
    return str(choice["delta"].get("content") or "") if "delta" in choice else str(choice["text"])


async def events_of(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any] | None]:
    """Yield the JSON of each event, None for `[DONE]`."""
    async for line in lines:
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            yield None if data == "[DONE]" else json.loads(data)


async def stream(client: httpx.AsyncClient, engine: ServedEngine, path: str, **body: object) -> Streamed:
    """Read a stream to its end."""
    request = {"model": engine.model.name, "temperature": 0, "stream": True, **body}
    async with client.stream("POST", engine.url + path, json=request, timeout=120) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        found = [event async for event in events_of(response.aiter_lines())]
    return Streamed([event for event in found if event is not None], done=found[-1] is None)
