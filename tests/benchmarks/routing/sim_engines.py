"""Plain simulated engines: OpenAI servers on loopback, all in one process, with nothing of ours in front of them.

`python -m tests.benchmarks.routing.sim_engines PORT…` serves one engine at each port: vLLM's API and timing, without
the guard and the telemetry of a replica, so a gateway knows of them what it knows of any server.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.sim.engine import SimEngine
from tests.benchmarks.server_process import ServerProcess
from tests.free_ports import free_port

MODEL: Final = "sim"
_RESET_WAIT_S: Final = 10.0
_TOKENIZING: Final = b"POST /tokenize ", b"POST /v1/chat/completions/render "
TIMING: Final = SimSpec(
    prefill_tokens_per_s=8000.0,
    inter_token_s=0.012,
    inter_token_per_seq_s=0.0004,
    max_num_seqs=64,
    kv_blocks=1200,
    block_tokens=32,
    image_tokens=600,
)
"""A mid-size model on one GPU with little memory left: a stream of 80 tokens/s alone, 54 beside 15 others. Its cache of
38 400 tokens is small, so that a run of some seconds fills and overflows it."""


class _NoTokenizing(HttpToolsProtocol):
    """Answers 404 at once where a gateway asks for a prompt's tokens.

    `vllm-router` asks every engine about each prompt, at two paths. On machines of their own engines answer side by
    side; here they would one after another, on one core (7 ms each for 2 000 words), which would count against it.
    Without these paths it matches prompts as text. They are answered here, before uvicorn spends its 0.2 ms on them.
    """

    _left = 0

    def data_received(self, data: bytes) -> None:
        """Take what came from the gateway, which sends the next request only after an answer."""
        if self._left:
            self._left -= len(data)
        elif data.startswith(_TOKENIZING):
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._left = int(length.partition(b":")[2]) - len(body)
        else:
            super().data_received(data)
            return
        if not self._left:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")


class _HttpServer(uvicorn.Server):
    """A uvicorn server that leaves the process's signal handlers as they are."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(ports: Sequence[int], times_as_fast: float) -> None:
    timing = TIMING.model_copy(
        update={
            "prefill_tokens_per_s": TIMING.prefill_tokens_per_s * times_as_fast,
            "inter_token_s": TIMING.inter_token_s / times_as_fast,
            "inter_token_per_seq_s": TIMING.inter_token_per_seq_s / times_as_fast,
        }
    )
    model = ModelSpec(name=MODEL, engine="sim", sim=timing)
    engines = [SimEngine(model) for _ in ports]
    await asyncio.gather(*(engine.start() for engine in engines))
    servers = [
        _HttpServer(
            uvicorn.Config(
                engine.app,
                host="127.0.0.1",
                port=port,
                http=_NoTokenizing,
                lifespan="off",
                access_log=False,
                log_level="warning",
                timeout_keep_alive=75,
            )
        )
        for port, engine in zip(ports, engines, strict=True)
    ]
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    serving = [asyncio.create_task(server.serve()) for server in servers]
    await stopped.wait()
    for server in servers:
        server.should_exit = server.force_exit = True
    await asyncio.gather(*serving)


@contextmanager
def sim_engines(count: int, log_dir: Path) -> Iterator[list[int]]:
    """Run `count` engines in one process for as long as the context lasts; yield their ports.

    Raises:
        RuntimeError: they did not come up; the message has the end of their log.
    """
    ports = [free_port() for _ in range(count)]
    command = [sys.executable, "-m", "tests.benchmarks.routing.sim_engines", *map(str, ports)]
    # The last to listen is the last port: when it answers, all do.
    with ServerProcess("sim-engines", command, port=ports[-1], log_dir=log_dir):
        yield ports


def empty_caches(ports: Sequence[int]) -> None:
    """Have every engine forget what it has cached.

    Raises:
        RuntimeError: an engine did not, because requests are still running.
    """
    for port in ports:
        give_up = time.monotonic() + _RESET_WAIT_S
        while httpx.post(f"http://127.0.0.1:{port}/reset_prefix_cache", trust_env=False).status_code != httpx.codes.OK:
            if time.monotonic() > give_up:
                raise RuntimeError(f"the engine at port {port} does not empty its prefix cache")
            time.sleep(0.05)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--times-as-fast", type=float, default=1.0, help="as the timing of a mid-size model on one GPU")
    options = parser.parse_args()
    uvloop.run(_serve(options.ports, options.times_as_fast))
