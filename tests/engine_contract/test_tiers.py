"""Tiers below the device, end to end in the simulated engine; vLLM's worker for them needs a GPU."""

from collections.abc import Iterator

import pytest

from cluster.spec.model_spec import ModelSpec
from cluster.spec.parts.kv_cache_spec import DISK_BYTES_PER_S, HOST_BYTES_PER_S
from tests.engine_contract.contract_models import KV_BLOCKS, SIM
from tests.engine_contract.served_engine import ServedEngine
from tests.engine_contract.test_kv_events import cached_tokens, prompt_ids

BLOCK_BYTES = 32 * 131_072
HOST_S = 0.999 * 131_072 / HOST_BYTES_PER_S
"""Seconds that a token takes from host memory, but for rounding."""
DISK_S = HOST_S + 1.001 * 131_072 / DISK_BYTES_PER_S
"""Seconds that one takes from disk: through host memory."""


@pytest.fixture(scope="module")
def tiered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """An engine with room for as many blocks in host memory as on its device, and for as many again on disk."""
    room = KV_BLOCKS * BLOCK_BYTES / 1e9
    offload = {"offload": {"cpu_gb": room, "disk_gb": room, "disk_path": "/kv"}}
    model = ModelSpec.model_validate({**SIM.model_dump(mode="json", exclude_unset=True), "kv_cache": offload})
    served = ServedEngine(model, tmp_path_factory.mktemp("tiered") / "log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def _fill(engine: ServedEngine, seed: int) -> None:
    for number in range(3):
        engine.complete(prompt_ids(seed + number, 640), max_tokens=1)


def test_what_the_device_evicts_is_found_again(tiered: ServedEngine) -> None:
    """As cached tokens in the answer's usage, with the same text, and told as fetched; without tiers it was gone."""
    prompt = prompt_ids(500, 640)
    first = tiered.complete(prompt, max_tokens=8, ignore_eos=True)
    _fill(tiered, 501)
    tiered.view("events")
    again = tiered.complete(prompt, max_tokens=8, ignore_eos=True)
    assert (cached_tokens(first), cached_tokens(again)) == (0, 608)
    assert again["choices"][0]["text"] == first["choices"][0]["text"]
    fetches = tiered.view("stats")["fetches"]
    assert fetches["fetched_tokens"] >= 608
    assert HOST_S <= fetches["s_per_token"] <= DISK_S
    loaded = tiered.metric("vllm:kv_offload_load_bytes_total")
    assert loaded == fetches["fetched_tokens"] * 131_072
    seconds = tiered.metric("vllm:kv_offload_load_time_total")
    assert HOST_S <= seconds / fetches["fetched_tokens"] <= DISK_S
    stored = [fields["medium"] for name, fields in tiered.view("events") if name == "BlockStored"]
    assert {"device", "host"} <= set(stored)


def test_the_replica_knows_where_its_chunks_are(tiered: ServedEngine) -> None:
    """A prompt's chunks are claimed on the device, then below it, then on the device again."""
    text = "the river carries gravel and sand towards the sea " * 40
    body = {"model": "contract-model", "prompt": text, "max_tokens": 1}

    def below() -> tuple[int, int]:
        claims = tiered.claims("/v1/completions", body)
        return claims["tokens"], claims["below"]

    tiered.ok("/v1/completions", prompt=text, max_tokens=1)
    on_device, under = below()
    assert on_device > 400
    assert under == 0
    _fill(tiered, 600)
    gone, under = below()
    assert gone == 0
    assert under >= on_device - 60
    tiered.ok("/v1/completions", prompt=text, max_tokens=1)
    assert below()[0] >= on_device - 60


def test_an_engine_without_tiers_tells_of_none(sim_engine: ServedEngine) -> None:
    """No figures of fetches, so that nothing below it has a chunk in mind."""
    assert sim_engine.view("stats")["fetches"] is None
