"""An application of sim engines on the tests' Ray cluster, and what tests ask of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from deployments import app
from deployments.autoscaling import actor as autoscaling_actor
from deployments.directory.client import actor_name, view_now
from deployments.directory.membership import GatewayEndpoint, View
from deployments.launch.application import gateway_url
from router.replicas.endpoint import Endpoint
from tests.free_ports import free_port

READY_S = 180.0
"""Processes of Ray start in seconds, or in a minute on a machine that is busy with other tests."""


def sim_spec(*models: Mapping[str, Any], name: str, **gateway: Any) -> ClusterSpec:  # noqa: ANN401 - spec values
    """Return the spec of a small cluster of fast sim engines on free ports."""
    data = {
        "cluster": {"name": name, "serve_port": 0},
        "gateway": {"host": "127.0.0.1", "port": free_port(), "admin_port": 0, "drain_timeout_s": 10, **gateway},
        "models": [{"engine": "sim", "cpus": 0.1, **model} for model in models],
    }
    return cluster_file.from_data(data, "test")


def wait_for(what: str, condition: Callable[[], object], timeout_s: float = READY_S) -> None:
    """Wait until `condition` is true.

    Raises:
        AssertionError: it was not within `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(0.05)


async def eventually(what: str, condition: Callable[[], Awaitable[bool]], timeout_s: float = 60.0) -> float:
    """Wait until the coroutine `condition` returns true, looking every millisecond; returns how long that took.

    Raises:
        AssertionError: it did not within `timeout_s`.
    """
    started_s = time.monotonic()
    while not await condition():
        assert time.monotonic() - started_s < timeout_s, f"waited {timeout_s:g} s in vain for: {what}"
        await asyncio.sleep(0.001)
    return time.monotonic() - started_s


class RunningApplication:
    """One application by its spec's name."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.name = spec.cluster.name

    def deploy(self, spec: ClusterSpec) -> None:
        """Deploy `spec`, which may change what runs already."""
        self.spec = spec
        ray_api.deploy(app.compose(spec), self.name)

    def wait_until_ready(self) -> None:
        """Wait until Serve calls it running and a gateway calls itself ready."""
        wait_for(f"{self.name} runs", lambda: self.status() == "RUNNING")
        wait_for(f"{self.name} is ready", lambda: httpx.get(f"{self.url}/ready").is_success)

    def status(self) -> str:
        """Return Serve's word for it; a failure ends the test."""
        state = ray_api.application_state(self.name)
        assert state is None or state.status != "DEPLOY_FAILED", state
        return state.status if state else "GONE"

    def view(self) -> View:
        """Return the directory's view."""
        return view_now(self.name)

    def try_view(self) -> View | None:
        """Return the directory's view, or None while it is away."""
        try:
            return self.view()
        except ClusterError:
            return None

    def replicas(self, model: str) -> list[Endpoint]:
        """Return the directory's replicas of a model."""
        view = self.try_view()
        return [endpoint for endpoint in view.replicas if endpoint.model == model] if view else []

    def gateway(self) -> GatewayEndpoint:
        """Return the first gateway."""
        wait_for("a gateway", lambda: (view := self.try_view()) and view.gateways)
        return self.view().gateways[0]

    @property
    def url(self) -> str:
        """Return where apps connect."""
        return (
            gateway_url(self.gateway()) if not self.spec.gateway.port else f"http://127.0.0.1:{self.spec.gateway.port}"
        )

    def state(self) -> dict[str, Any]:
        """Return what the first gateway says of itself on its admin port."""
        gateway = self.gateway()
        result: dict[str, Any] = httpx.get(f"http://{self.spec.gateway.host}:{gateway.admin_port}/state").json()
        return result

    def chat(self, model: str, text: str = "hello", **more: Any) -> httpx.Response:  # noqa: ANN401 - request fields
        """Ask a model once."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}
        headers = {"x-rackserve-explain": "1"}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=30.0)

    def delete(self) -> None:
        """Take it away, with everything that belongs to it."""
        ray_api.delete_application(self.name)
        ray_api.kill_actor(actor_name(self.name))
        ray_api.kill_actor(autoscaling_actor.actor_name(self.name))
        ray_api.forget_secret(self.name)
