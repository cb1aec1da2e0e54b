"""A Redis for Ray's head, where the launcher is: the machine's own, or unpacked from Debian's packages."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.integration.launch.debian_packages import libraries, unpack
from tests.integration.launch.netns_hosts import NETWORK, NetnsHosts

FOLDER: Final = Path(__file__).resolve().parents[3] / ".cache" / "redis-programs"
PACKAGES: Final = ("redis-server", "redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1", "lua-cjson", "lua-bitop")
PORT: Final = 6390
START_S: Final = 20.0


def find_redis() -> tuple[list[str], dict[str, str]] | str:
    """Return the command of a Redis and the environment that it needs, or in words why there is none."""
    if found := shutil.which("redis-server"):
        return [found], {}
    program = FOLDER / "usr" / "bin" / "redis-server"
    if not program.exists() and (why_not := unpack(FOLDER, PACKAGES)):
        return f"redis-server is missing: {why_not}"
    return [str(program)], {"LD_LIBRARY_PATH": libraries(FOLDER)}


@contextmanager
def running_redis(hosts: NetnsHosts, found: tuple[list[str], dict[str, str]]) -> Iterator[str]:
    """Run a Redis that hosts can reach; yield its address."""
    command, env = found
    address = f"{NETWORK}.1"
    options = [
        "--bind",
        address,
        "--port",
        str(PORT),
        "--protected-mode",
        "no",
        "--save",
        "",
        "--dir",
        str(hosts.folder),
    ]
    process = subprocess.Popen(
        hosts.command(*command, *options), env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        ends_s = time.monotonic() + START_S
        while not hosts.inside(_answers, address):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < ends_s, "the Redis does not answer"
            time.sleep(0.05)
        yield f"{address}:{PORT}"
    finally:
        process.kill()
        process.communicate()


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, PORT), timeout=1.0):
            return True
    except OSError:
        return False
