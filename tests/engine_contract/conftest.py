"""One engine of each kind for the whole session: every test of this folder runs against both."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from cluster.spec.cluster_spec import ModelSpec
from tests.engine_contract.served_engine import ServedEngine

KV_BLOCKS = 64
"""KV blocks of 32 tokens: few enough that a handful of prompts evicts."""

SIM = ModelSpec.model_validate(
    {
        "name": "contract-model",
        "engine": "sim",
        "sim": {"kv_blocks": KV_BLOCKS, "block_tokens": 32, "prefill_tokens_per_s": 4000, "inter_token_s": 0.01},
    }
)
VLLM = ModelSpec.model_validate(
    {
        "name": "contract-model",
        "engine": "vllm",
        "source": "smollm2-135m-instruct",
        "engine_args": {
            "max_model_len": KV_BLOCKS * 32,
            "num_gpu_blocks_override": KV_BLOCKS + 1,  # vLLM keeps one for itself
            "kv_cache_memory_bytes": 256 << 20,
            "enable_auto_tool_choice": True,
            "tool_call_parser": "hermes",
        },
    }
)


@pytest.fixture(
    scope="session", params=[pytest.param(SIM, id="sim"), pytest.param(VLLM, id="vllm", marks=pytest.mark.vllm)]
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """The engine under test, ready."""
    model: ModelSpec = request.param
    served = ServedEngine(model, tmp_path_factory.mktemp("engine") / f"{model.engine}.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client for streams."""
    async with httpx.AsyncClient(timeout=120) as found:
        yield found
