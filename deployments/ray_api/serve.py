"""Starts and stops Ray Serve itself, and reads its own HTTP port."""

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.context import _get_global_client

from deployments.ray_api.errors import ray_errors


def default_serve_port(port: int) -> None:
    """Make `port` the default HTTP port of a Serve that this process starts later.

    For `serve run`, which calls an application's builder and then starts Serve on port 8000, which is the apps' port.
    """
    HTTPOptions.model_fields["port"].default = port
    HTTPOptions.model_rebuild(force=True)


def start_serve(port: int, host: str) -> bool:
    """Start Ray Serve if it does not run; return whether it was started.

    Args:
        port: port of Serve's own HTTP (control and health checks) on the head node; 0: no HTTP.
        host: the address it listens on, which must be one of the head's.

    Raises:
        ClusterError: it did not start.
    """
    if is_serve_running():
        return False
    with ray_errors("starting Ray Serve"):
        serve.start(
            proxy_location=ProxyLocation.HeadOnly if port else ProxyLocation.Disabled,
            http_options={"host": host, "port": port} if port else None,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    return True


def is_serve_running() -> bool:
    """Return whether Ray Serve runs on the cluster."""
    with ray_errors("looking for Ray Serve"):
        return _get_global_client(raise_if_no_controller_running=False) is not None


def serve_http_port() -> int:
    """Return the port of Serve's own HTTP; 0: it has none."""
    with ray_errors("asking Ray Serve for its port"):
        client = _get_global_client(raise_if_no_controller_running=False)
        if client is None or client.http_config.host is None:
            return 0
        # Not `http_config.location`, which is None unless somebody asked for one. Ray has no public call.
        where = ray.get(client._controller.get_proxy_location.remote())  # noqa: SLF001
    return 0 if where in {None, ProxyLocation.Disabled} else int(client.http_config.port)


def stop_serve() -> None:
    """Stop Ray Serve with all its applications."""
    with ray_errors("stopping Ray Serve"):
        serve.shutdown()
