"""A Ray cluster is joined, or told in one line why not: dead heads, other servers, and tokens."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import ray
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from cluster.errors import ClusterError
from deployments.ray_api.joining.head import ask_head
from tests.integration.cluster.command import RACKSERVE, run

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of this test's own cluster
CLUSTER_OF_ITS_OWN = """
import sys, ray
ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000, logging_level=40)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


class ScriptedHead(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):  # type: ignore[misc] # Ray is untyped here
    """Answers as a head does that is asked for its version."""

    def __init__(self, version: str = ray.__version__, token: str = "") -> None:
        self.version = version
        self.token = token

    def CheckAlive(self, _request: object, context: grpc.ServicerContext) -> object:  # noqa: N802 - Ray's name
        """Give the version, to those who have the token."""
        given = dict(context.invocation_metadata()).get("authorization", "")
        if self.token and given != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken: missing or incorrect")
        return gcs_service_pb2.CheckAliveReply(ray_version=self.version)

    def GetAllNodeInfo(self, _request: object, _context: grpc.ServicerContext) -> object:  # noqa: N802 - Ray's name
        """No node of this cluster is on this machine."""
        return gcs_service_pb2.GetAllNodeInfoReply()


@pytest.fixture
def head() -> Iterator[tuple[ScriptedHead, str]]:
    """Give a scripted head and its address."""
    scripted = ScriptedHead()
    server = grpc.server(ThreadPoolExecutor(2))
    gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("0.0.0.0:0")  # Ray resolves the loopback address to the machine's own
    server.start()
    yield scripted, f"127.0.0.1:{port}"
    server.stop(None).wait()


def why_not(address: str) -> str:
    """Return why a cluster cannot be joined: one line, within seconds."""
    began_s = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        ask_head(address)
    assert time.monotonic() - began_s < 5
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_of_another_kind_is_told() -> None:
    """A port that takes connections and says nothing, or speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no Ray cluster at 127.0.0.1" in why_not(f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "refused"),
        ("http://127.0.0.1:8265", "HOST:PORT of its head"),
        ("ray://127.0.0.1:10001", "HOST:PORT of its head"),
        ("head", "give HOST:PORT"),
    ],
)
def test_what_is_no_heads_address_is_told(address: str, words: str) -> None:
    """A dead port, a dashboard's or a client's URL, a name alone."""
    assert words in why_not(address)


def test_a_cluster_without_a_node_here_is_told(head: tuple[ScriptedHead, str]) -> None:
    """Ray would look for a minute; the message says where to run the command, and what works from anywhere."""
    assert "is on this machine" in why_not(head[1])
    assert "--url" in why_not(head[1])


def test_another_version_of_ray_is_told(head: tuple[ScriptedHead, str]) -> None:
    """Both versions stand in the message."""
    head[0].version = "2.40.0"
    assert f"runs Ray 2.40.0, and here is {ray.__version__}" in why_not(head[1])


def test_a_token_that_is_missing_or_wrong_is_told(head: tuple[ScriptedHead, str], tmp_path: Path) -> None:
    """In a process of its own, for Ray keeps the token that it read: where it is looked for, and that it is refused."""
    head[0].token = TOKEN
    script = f"from deployments.ray_api.joining.head import ask_head; ask_head({head[1]!r})"
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {"HOME": str(tmp_path)}
    for more, words in (
        ({}, "wants a token, and there is none: give it in RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": "x" * 32}, "it refuses the token in RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": TOKEN}, "is on this machine"),  # it was let in
    ):
        ended = subprocess.run(
            [sys.executable, "-c", script], env=env | more, capture_output=True, text=True, timeout=60, check=False
        )
        assert words in ended.stderr.splitlines()[-1], ended.stderr


@pytest.mark.ray
@pytest.mark.long
def test_rays_token_is_used_where_it_exists(tmp_path: Path) -> None:
    """A cluster that asks for a token is joined by its address, with the token of the environment or of its file."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    with tempfile.TemporaryDirectory(prefix="rackserve-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env = {"HOME": str(tmp_path), "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
        started = [sys.executable, "-c", CLUSTER_OF_ITS_OWN]
        with subprocess.Popen(
            started, env=os.environ | env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                address = process.stdout.readline().strip()
                told = [
                    run(RACKSERVE, "status", "--address", address, env=env | more).stderr
                    for more in ({}, {"HOME": "/nowhere"}, {"HOME": "/nowhere", "RAY_AUTH_TOKEN": TOKEN})
                ]
            finally:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(60)
    assert "no RackServe on the Ray cluster" in told[0]
    assert "wants a token" in told[1]
    assert "no RackServe on the Ray cluster" in told[2]
