"""Ray Serve LLM as a peer, from outside: its options, its start and its stop. It runs `ray_serve_llm.py`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.models.source import resolve
from tests.benchmarks.engine_dtype import engine_dtype
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.peers import peer_command
from tests.benchmarks.routing.plain_engines import BLOCK_TOKENS, ENGINE_ENV, ENGINES, EXECUTOR, KV_BLOCKS, START_WAIT_S
from tests.benchmarks.server_process import ROOT, ServerProcess
from tests.free_ports import free_port


@contextmanager
def ray_serve_llm(log_dir: Path) -> Iterator[ServerProcess]:
    """Run it with replicas of the same engine as `plain_engines`, for as long as the context lasts.

    Raises:
        PeerMissingError: it is not installed.
        RuntimeError: it did not come up; the message has the end of its log.
    """
    port = free_port()
    options = {
        "port": port,
        "model_id": MODEL,
        "model_source": resolve(MODEL),
        "replicas": ENGINES,
        "engine_kwargs": {
            "dtype": engine_dtype(),
            "max_model_len": 2048,
            "max_num_seqs": 16,
            "block_size": BLOCK_TOKENS,
            "num_gpu_blocks_override": KV_BLOCKS,
            "kv_cache_memory_bytes": 1 << 30,
            "compilation_config": {"custom_ops": ["none"]},
            "distributed_executor_backend": EXECUTOR,
            "enforce_eager": True,
            "enable_prompt_tokens_details": True,
        },
        "env": ENGINE_ENV,
    }
    file = log_dir / "ray-serve-llm.json"
    file.write_text(json.dumps(options))
    python = peer_command("ray-serve-llm", "python")
    command = [python, str(ROOT / "tests" / "benchmarks" / "routing" / "ray_serve_llm.py"), str(file)]
    server = ServerProcess(
        "ray-serve-llm",
        command,
        port=port,
        log_dir=log_dir,
        ready_path="/v1/models",
        start_wait_s=START_WAIT_S,
        own_session=False,
    )
    with server:
        yield server
