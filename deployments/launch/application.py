"""Runs one application on Ray, from a spec to READY and back to nothing: used by `rackserve serve` and the demo."""

import concurrent.futures
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import httpx

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, ClusterUnreachableError
from cluster.spec.cluster_spec import ClusterSpec
from deployments import app
from deployments.autoscaling import actor as autoscaling_actor
from deployments.directory.client import actor_name, view_now
from deployments.directory.membership import GatewayEndpoint, View
from deployments.gateway.operators import headers_by_ray
from deployments.gateway.process import WILDCARDS
from deployments.launch.missing_machines import away_machines, missing_machines
from deployments.launch.progress import ModelProgress, Progress
from deployments.launch.running_spec import forget_spec, keep_spec
from deployments.model_cache.warmer import start_warmer, stop_warmer, wait_until_warm
from deployments.process.direct_http import direct_get

POLL_S: Final = 0.5
"""Seconds between two looks at the application's progress."""
GATHER_S: Final = 60.0
"""Seconds for which machines of a launch that have not joined are waited for, so that all are warm at the start."""
LAST_ANSWER_S: Final = 10.0
"""Most seconds that an answer about replicas is given again while Serve's short status stays the same."""
LOOK_S: Final = 0.2
"""Seconds between two checks, during a call to Ray, that our own Ray processes are alive."""
Result = TypeVar("Result")
_ERROR_LINE = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception)): (.+)$", re.MULTILINE)


class Launch:
    """Runs one cluster file's application.

    Args:
        spec: what to run.
        address: the address of a running Ray cluster; "": start one on this machine, which ends with `stop`.
        quiet: keep the workers' logs out of this terminal.
        is_url_for_others: give a gateway's network address even if it is on this machine.

    Attributes:
        is_abandoned: `stop` found Ray's own processes dead. Threads of this process may wait in Ray forever, so end it
            by `os._exit`.
    """

    def __init__(
        self, spec: ClusterSpec, address: str = "", *, quiet: bool = True, is_url_for_others: bool = False
    ) -> None:
        self._spec = spec
        self._is_url_for_others = is_url_for_others
        self._address = address
        self._quiet = quiet
        self._name = spec.cluster.name
        self._started_serve = False
        self.is_abandoned = False
        self._last_words: tuple[tuple[str, str], ...] = ()
        self._last_models: Mapping[str, ModelProgress] = {}
        self._last_models_s = 0.0
        self._deployed = self._is_warming = False

    @property
    def cpus_wanted(self) -> float:
        """Logical CPUs of all replicas together, with each pool at its most replicas."""
        return sum(pool.cpus * pool.replicas.max for pool in self._spec.in_pools())

    def start(
        self, is_stopping: Callable[[], bool] = lambda: False, report: Callable[[str], None] = lambda _line: None
    ) -> None:
        """Start or join Ray, start Serve and give it the application; `progress` shows how far it is.

        Args:
            is_stopping: asked between the steps; True ends the start early.
            report: called with a line for each step of warming the nodes' caches.

        Raises:
            ClusterError: a step failed, a port of the cluster file is taken, or this machine lacks what a
                model wants.
        """
        if self._address:
            ray_api.connect(self._address, quiet=self._quiet)
        else:
            self._check_ports()
            self._check_machine()
            ray_api.start_local(self.cpus_wanted, quiet=self._quiet)
        if is_stopping():
            return
        self._started_serve = ray_api.start_serve(self._spec.cluster.serve_port, self._spec.gateway.host)
        if is_stopping():
            return
        self._warm(is_stopping, report)
        if is_stopping():
            return
        self._deployed = True
        ray_api.deploy(app.compose(self._spec), self._name)
        # Nobody joins a Ray that was started here, so nobody is missed there.
        keep_spec(self._spec if self._address else self._spec.model_copy(update={"launch": None}))

    def _warm(self, is_stopping: Callable[[], bool], report: Callable[[str], None]) -> None:
        """Have the nodes download what may run there; wait for those that there are, and a while for those that join.

        Replicas that started meanwhile would spend their `start_timeout_s` on the same downloads.
        """
        if not self._spec.cluster.warm_cache:
            stop_warmer(self._name)
            return
        start_warmer(self._spec)
        self._is_warming = True
        gathers_until_s = time.monotonic() + GATHER_S
        wait_until_warm(
            self._name, report, is_stopping, lambda: time.monotonic() < gathers_until_s and bool(self.away())
        )

    def progress(self) -> Progress:
        """Return how far the application has started.

        Raises:
            ClusterUnreachableError: the Ray cluster that `start` started has ended.
            ClusterError: the application failed for good, or is gone.
        """
        return while_own_cluster_lives(self._progress)

    def models(self) -> Mapping[str, ModelProgress]:
        """Return the progress of each model, or of its pools, by label, to look often at an application that serves.

        While Serve calls everything well in the same words as before, the answer is the last one for `LAST_ANSWER_S`.

        Raises:
            ClusterUnreachableError: the Ray cluster that `start` started has ended.
            ClusterError: the application failed for good, or is gone.
        """
        return while_own_cluster_lives(self._models_now)

    def _models_now(self) -> Mapping[str, ModelProgress]:
        words, now_s = ray_api.status_words(self._name), time.monotonic()
        is_well = all(status in {"RUNNING", "HEALTHY"} for status, _ in words)
        if not is_well or words != self._last_words or now_s - self._last_models_s > LAST_ANSWER_S:
            self._last_models = self._models(self._state())
            self._last_words, self._last_models_s = words, now_s
        return self._last_models

    def _state(self) -> ray_api.ApplicationState:
        state = ray_api.application_state(self._name)
        if state is None:
            raise ClusterError(f"{self._name} is no longer on the cluster: somebody deleted it")
        if state.status == "DEPLOY_FAILED":
            raise ClusterError(f"{self._name} did not start: {why_failed(state)}")
        return state

    def _models(self, state: ray_api.ApplicationState) -> dict[str, ModelProgress]:
        models = {}
        for model in self._spec.in_pools():
            found = state.deployments.get(app.deployment_name(model.name, model.pool))
            ready = found.replicas.get("RUNNING", 0) if found else 0
            # Serve remarks on replicas that start for more than 30 s, which is normal for engines.
            message = found.message if found and "to initialize" not in found.message else ""
            # Once it serves, `rackserve scale` may have changed what the file says.
            is_counted = model.replicas.is_autoscaled or state.status == "RUNNING"
            wanted = found.wanted if found and is_counted else model.replicas.min
            models[model.label] = ModelProgress(ready, wanted, reason_in(message))
        return models

    def _progress(self) -> Progress:
        state = self._state()
        models = self._models(state)
        view = self._view()
        url = ""
        unmet: tuple[str, ...] = ()
        if state.status == "RUNNING" and view is not None:
            for gateway in self._as_seen_here(view):
                is_ready, unmet = _readiness(gateway, headers_by_ray(self._name))
                if is_ready:
                    url = gateway_url(gateway)
                if is_ready or unmet:
                    break
        machines = [] if url else ray_api.machines()
        missing = missing_machines(self._spec, machines) if machines else {}
        return Progress(models, len(view.gateways) if view else 0, url, unmet, missing, self._away(machines))

    def away(self) -> tuple[str, ...]:
        """Return the machines of the file's `launch` section that have not joined, as `Progress.away`.

        Raises:
            ClusterError: Ray's head is away.
        """
        return self._away(ray_api.machines())

    def _away(self, machines: Sequence[ray_api.Machine]) -> tuple[str, ...]:
        launch = self._spec.launch if self._address else None  # nobody joins a Ray that was started here
        return away_machines(launch, machines) if machines and launch else ()

    def wait_until_ready(self, report: Callable[[Progress], None], is_stopping: Callable[[], bool]) -> str:
        """Wait until the application serves.

        Args:
            report: called with each new progress.
            is_stopping: asked again and again; True ends the wait.

        Returns:
            Where apps connect; "": `is_stopping` turned true.

        Raises:
            ClusterError: the application failed for good.
        """
        while not is_stopping():
            try:
                progress = self.progress()
            except ClusterUnreachableError:
                if is_stopping():
                    break
                raise
            report(progress)
            if progress.unmet:
                raise ClusterError(f"{self._name} cannot serve as its file says: {'; '.join(progress.unmet)}")
            if progress.url:
                return progress.url
            time.sleep(POLL_S)
        return ""

    def leave(self) -> None:
        """Leave the cluster with the application still on it."""
        if ray_api.is_connected():
            ray_api.disconnect()

    def stop(self) -> None:
        """Remove the application, and everything else that `start` started. Safe to call at any point."""
        if not ray_api.is_connected():
            return
        try:
            if self._deployed or self._started_serve or self._is_warming:
                with contextlib.suppress(ClusterUnreachableError):
                    while_own_cluster_lives(self._remove_application)
        finally:
            if ray_api.has_own_cluster_died():
                ray_api.abandon_own_cluster()
                self.is_abandoned = True
            else:
                ray_api.disconnect()

    def _remove_application(self) -> None:
        if self._is_warming:
            stop_warmer(self._name)
        if self._deployed:
            ray_api.delete_application(self._name)
            ray_api.kill_actor(actor_name(self._name))
            ray_api.kill_actor(autoscaling_actor.actor_name(self._name))
            ray_api.forget_secret(self._name)
            forget_spec(self._name)
        if self._started_serve and self._address:
            ray_api.stop_serve()

    def _view(self) -> View | None:
        try:
            return view_now(self._name)
        except ClusterError:
            return None  # not there yet, or restarting

    def _as_seen_here(self, view: View) -> Sequence[GatewayEndpoint]:
        """Return the gateways; one on this machine that listens on all its addresses gets the loopback address."""
        is_local = self._spec.gateway.host in WILDCARDS and not self._is_url_for_others
        here = ray_api.node_id() if is_local else None
        return [replace(gateway, host="127.0.0.1") if gateway.node_id == here else gateway for gateway in view.gateways]

    def _check_machine(self) -> None:
        # No other machine joins a cluster that is started for this command, so waiting would not help.
        missing = missing_machines(self._spec, [ray_api.machine_here(ray_api.local_cpus(self.cpus_wanted))])
        if missing:
            lines = [f"  {name}: {reason}" for name, reason in missing.items()]
            raise ClusterError("\n".join([f"{self._name} cannot run on this machine alone:", *lines]))

    def _check_ports(self) -> None:
        gateway, cluster = self._spec.gateway, self._spec.cluster
        for key, host, port in (
            ("gateway.port", gateway.host, gateway.port),
            ("cluster.serve_port", "0.0.0.0", cluster.serve_port),  # noqa: S104 - looked at, not listened on
        ):
            if port and not _is_free(host, port):
                raise ClusterError(f"{key}: port {port} is in use by another program; stop it, or choose another port")


def while_own_cluster_lives(work: Callable[[], Result]) -> Result:
    """Return the result of `work`, unless the Ray processes that this process started end meanwhile.

    A signal to our whole process group, as service managers send it, ends those processes too. Calls to Ray then wait
    forever, so `work` runs in a thread that may be left behind.

    Raises:
        ClusterUnreachableError: Ray's processes have ended.
    """
    future: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def attempt() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            future.set_exception(error)

    threading.Thread(target=attempt, name="ray call", daemon=True).start()
    while True:
        try:
            return future.result(LOOK_S)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
        if ray_api.has_own_cluster_died():
            raise ClusterUnreachableError("Ray's processes have ended")


def gateway_url(gateway: GatewayEndpoint) -> str:
    """Return the URL at which apps connect to a gateway."""
    host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
    return f"{gateway.scheme}://{host}:{gateway.port}"


def why_failed(state: ray_api.ApplicationState) -> str:
    """Return why an application failed, with a reason for each failed deployment."""
    reasons = [
        f"{name}: {reason_in(deployment.message)}"
        for name, deployment in state.deployments.items()
        if deployment.status in {"DEPLOY_FAILED", "UNHEALTHY"} and deployment.message
    ]
    return "; ".join(reasons) or reason_in(state.message) or "Ray Serve does not say why"


def reason_in(message: str) -> str:
    """Return the line of a Serve message that says what is wrong; the message is often a stack of tracebacks."""
    errors = _ERROR_LINE.findall(message)
    ours = [
        text for name, text in errors if name in {"EngineStartError", "ModelSourceError", "ClusterError", "SpecError"}
    ]
    if ours:
        return str(ours[-1])
    if errors:
        return f"{errors[-1][0]}: {errors[-1][1]}"
    return message.strip().split("\n")[0]


def _readiness(gateway: GatewayEndpoint, headers: Mapping[str, str]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a gateway can serve, and the telemetry that its models' policies need but no replica provides."""
    # Asked on the operators' port, because this machine may not know the certificate of the apps' port.
    try:
        answer = direct_get(f"{gateway.admin_url}/ready", 2.0, headers)
        return answer.status_code == httpx.codes.OK, tuple(answer.json().get("unmet", ()))
    except (httpx.HTTPError, ValueError):
        return False, ()


def _is_free(host: str, port: int) -> bool:
    """Return whether nothing listens on a port: binds it without sharing, which fails even if the listener shares."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
