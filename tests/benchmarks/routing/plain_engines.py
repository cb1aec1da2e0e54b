"""Three plain vLLM servers with small KV caches, as anybody runs them: vLLM's own API server, nothing of ours in it."""

import http.client
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from deployments.models.source import resolve
from tests.benchmarks.engine_dtype import engine_dtype
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.server_process import ServerProcess
from tests.benchmarks.token_streams import Target
from tests.free_ports import free_port

ENGINES: Final = 3
KV_BLOCKS: Final = 256
BLOCK_TOKENS: Final = 32
EXECUTOR: Final = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""Everybody's engines run the model in the engine's own process, as our replicas do. By its name: on the CPU vLLM turns
`uni` into `mp`, a worker process more for each engine."""
START_WAIT_S: Final = 420.0
_RESET_WAIT_S: Final = 30.0
ENGINE_ENV: Final = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # has POST /reset_prefix_cache
    "HF_HUB_OFFLINE": "1",
}


def _command(port: int) -> list[str]:
    # `vllm serve` wants a distribution called `vllm`; the CPU build is `vllm-cpu`. This is the server it would start.
    server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", resolve(MODEL)]
    options = {
        "host": "127.0.0.1",
        "port": port,
        "served-model-name": MODEL,
        "dtype": engine_dtype(),
        "max-model-len": 2048,
        "max-num-seqs": 16,
        "block-size": BLOCK_TOKENS,
        "num-gpu-blocks-override": KV_BLOCKS,
        "kv-cache-memory-bytes": 1 << 30,
        "compilation-config": json.dumps({"custom_ops": ["none"]}),
        "distributed-executor-backend": EXECUTOR,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [*server, *words, "--enforce-eager", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]


@contextmanager
def plain_engines(log_dir: Path) -> Iterator[list[ServerProcess]]:
    """Run `ENGINES` servers for as long as the context lasts.

    Raises:
        RuntimeError: one did not come up; the message has the end of its log.
    """
    with ExitStack() as stack:
        engines = []
        for number in range(ENGINES):
            port = free_port()
            engine = ServerProcess(
                f"engine-{number}",
                _command(port),
                port=port,
                log_dir=log_dir,
                start_wait_s=START_WAIT_S,
                env=ENGINE_ENV,
                own_session=False,
            )
            stack.callback(engine.stop)
            engines.append(engine)
        for engine in engines:
            engine.wait_ready()
        yield engines


def empty_caches(engines: Sequence[Target]) -> None:
    """Have every engine forget what it has cached.

    Raises:
        RuntimeError: an engine did not, because requests are still running.
    """
    for engine in engines:
        give_up = time.monotonic() + _RESET_WAIT_S
        while not _emptied(engine):
            if time.monotonic() > give_up:
                raise RuntimeError(f"the engine at port {engine.port} does not empty its prefix cache")
            time.sleep(0.1)


def _emptied(engine: Target) -> bool:
    connection = http.client.HTTPConnection(engine.host, engine.port, timeout=_RESET_WAIT_S)
    try:
        connection.request("POST", "/reset_prefix_cache")
        response = connection.getresponse()
        return response.status == http.client.OK and json.loads(response.read())["success"] is True
    finally:
        connection.close()
