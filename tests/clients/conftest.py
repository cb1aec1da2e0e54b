"""What the clients ask: `rackserve gateway` with API keys, in front of two simulated engines."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.cluster.command import RACKSERVE

KEY = "sk-of-the-clients"
MODEL = ModelSpec.model_validate(
    {
        "name": "clients-model",
        "engine": "sim",
        "sim": {"inter_token_s": 0.01, "answer_tokens": 24, "kv_blocks": 1024},
    }
)
READY_S = 60.0


@dataclass(frozen=True)
class Served:
    """An endpoint for clients.

    Attributes:
        port: the apps' port.
        key: an API key that it takes.
        model: the model's name.
    """

    port: int
    key: str
    model: str

    @property
    def environment(self) -> dict[str, str]:
        """What a client's program is told."""
        return {"BASE_URL": f"http://127.0.0.1:{self.port}/v1", "API_KEY": self.key, "MODEL": self.model}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The endpoint, for the whole session."""
    folder = tmp_path_factory.mktemp("clients")
    tenants = folder / "tenants.yaml"
    tenants.write_text(f"tenants: [{{name: clients, key_sha256: {sha256(KEY.encode()).hexdigest()}}}]\n")
    with ExitStack() as stack:
        engines = [ServedEngine(MODEL, folder / f"engine-{number}.log") for number in range(2)]
        for engine in engines:
            stack.callback(engine.close)
        command = [RACKSERVE, "gateway", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
        for engine in engines:
            command += ["--replica", engine.wait_ready().url]
        log = stack.enter_context((folder / "gateway.log").open("wb"))
        gateway = subprocess.Popen([*command, "--tenants", str(tenants)], stdout=subprocess.PIPE, stderr=log)
        stack.enter_context(gateway)  # waits for its end
        stack.callback(gateway.terminate)
        assert gateway.stdout is not None
        first = gateway.stdout.readline().decode()
        assert first.startswith("READY"), (folder / "gateway.log").read_text()
        yield Served(int(first.strip().rsplit(":", 1)[1]), KEY, MODEL.name)
