"""SDKs and frameworks as apps use them: each program of `programs/`, `node/` and `java/` runs to its end."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Served
from tests.clients.environments import FOLDER, NODE, ClientMissingError, node_folder, python_of

PYTHON = sorted(file.name for file in (FOLDER / "programs").glob("*.py") if file.name != "endpoint.py")
ANSWERS_S = 180.0


def run(served: Served, *command: str | Path, cwd: Path) -> None:
    """Run a client's program, which fails if an answer is not what it must be."""
    quiet = {"HTTP_PROXY": "", "HTTPS_PROXY": "", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
    ended = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **quiet, **served.environment},
        capture_output=True,
        timeout=ANSWERS_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")[-3000:]


@pytest.mark.parametrize("program", PYTHON)
def test_a_python_client_works(served: Served, program: str) -> None:
    """A Python SDK or framework gets from the endpoint what it gets from its vendor."""
    try:
        python = python_of("python")
    except ClientMissingError as error:
        pytest.skip(f"the clients' environment cannot be made here: {error}")
    run(served, python, program, cwd=FOLDER / "programs")


@pytest.mark.parametrize("program", sorted(file.name for file in NODE.glob("*.mjs")))
def test_a_node_client_works(served: Served, program: str) -> None:
    """An SDK of Node.js gets from the endpoint what it gets from its vendor."""
    try:
        folder = node_folder()
    except ClientMissingError as error:
        pytest.skip(f"the packages of Node.js cannot be had here: {error}")
    run(served, "node", program, cwd=folder)


def test_the_jdk_client_works(served: Served) -> None:
    """The JDK's client offers `Upgrade: h2c` by default, and gets whole and streamed answers."""
    if shutil.which("javac") is None:
        pytest.skip("no JDK is installed")
    run(served, "java", "Ask.java", cwd=FOLDER / "java")
