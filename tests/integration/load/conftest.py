"""What loads are sent to: `rackserve gateway` alone in front of a simulated engine whose times are planted."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.cluster.command import RACKSERVE

MODEL = ModelSpec.model_validate(
    {
        "name": "bench-model",
        "engine": "sim",
        "sim": {
            "prefill_tokens_per_s": 2000.0,
            "inter_token_s": 0.03,
            "inter_token_per_seq_s": 0.0,
            "kv_blocks": 4096,
            "max_num_seqs": 64,
        },
    }
)
"""400 new prompt tokens take 200 ms, each token 30 ms."""


@dataclass(frozen=True)
class SimEndpoint:
    """A gateway and the engine behind it.

    Attributes:
        url: where apps connect.
        engine: the engine.
    """

    url: str
    engine: ServedEngine


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimEndpoint]:
    """The endpoint."""
    folder = tmp_path_factory.mktemp("bench")
    with ExitStack() as stack:
        engine = ServedEngine(MODEL, folder / "engine.log")
        stack.callback(engine.close)
        log = stack.enter_context((folder / "gateway.log").open("wb"))
        command = [RACKSERVE, "gateway", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", "--no-rate-probe"]
        gateway = subprocess.Popen([*command, "--replica", engine.wait_ready().url], stdout=subprocess.PIPE, stderr=log)
        stack.enter_context(gateway)  # waits for its end
        stack.callback(gateway.terminate)
        assert gateway.stdout is not None
        first = gateway.stdout.readline().decode()
        assert first.startswith("READY"), (folder / "gateway.log").read_text()
        yield SimEndpoint(first.split()[1], engine)
