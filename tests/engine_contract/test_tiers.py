"""Tiers below the device, end to end: in the simulated engine, and in vLLM, whose copying on CPUs is ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.spec.model_parts.kv_cache_spec import DISK_BYTES_PER_S, HOST_BYTES_PER_S
from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.contract_models import KV_BLOCKS, SIM, VLLM
from tests.engine_contract.served_engine import ServedEngine
from tests.engine_contract.test_kv_events import cached_tokens, prompt_ids

BLOCK = 32
HOST_S = 0.999 * 131_072 / HOST_BYTES_PER_S
"""Seconds that a token takes from the simulated engine's host memory, but for rounding."""
DISK_S = HOST_S + 1.001 * 131_072 / DISK_BYTES_PER_S
"""Seconds that one takes from its disk: through host memory."""


@dataclass(frozen=True)
class Kind:
    """A model, and what its engine is to tell of it.

    Attributes:
        model: without tiers.
        bytes_per_token: of its KV cache.
        s_per_token: the least and the most seconds of a fetched token.
    """

    model: ModelSpec
    bytes_per_token: int
    s_per_token: tuple[float, float]


KINDS = {
    "sim": Kind(SIM, 131_072, (HOST_S, DISK_S)),
    "vllm": Kind(VLLM, 30 * 2 * 3 * 64 * 4, (1e-9, 1e-2)),
}
"""SmolLM2 has 30 layers with keys and values of 3 heads of 64 numbers of 4 bytes; how fast a CPU copies is its own."""


@pytest.fixture(
    scope="module",
    params=["sim", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(1200)])],
)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The engine."""
    return KINDS[request.param]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tier of files; the simulated engine writes none."""
    return tmp_path_factory.mktemp("kv")


@pytest.fixture(scope="module")
def tiered(kind: Kind, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """An engine with room for twice as many blocks in host memory as on its device, and for four times as many on disk.

    Lower tiers have copies of what is in higher ones, so that less room than above would keep nothing more.
    """
    room = KV_BLOCKS * BLOCK * kind.bytes_per_token / 1e9
    offload = {"offload": {"cpu_gb": 2 * room, "disk_gb": 4 * room, "disk_path": str(files)}}
    model = ModelSpec.model_validate({**kind.model.model_dump(mode="json", exclude_unset=True), "kv_cache": offload})
    served = ServedEngine(model, tmp_path_factory.mktemp("tiered") / "log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def _fill(engine: ServedEngine, seed: int, prompts: int = 3) -> None:
    for number in range(prompts):
        engine.complete(prompt_ids(seed + number, 640), max_tokens=1)


def test_what_the_device_evicts_is_found_again(tiered: ServedEngine, kind: Kind) -> None:
    """As cached tokens in the answer's usage, with the same text, and told as fetched; without tiers it was gone."""
    prompt = prompt_ids(500, 640)
    tiered.view("events")
    first = tiered.complete(prompt, max_tokens=8, ignore_eos=True)
    _fill(tiered, 501)
    stored = [fields["medium"] for name, fields in tiered.view("events") if name == "BlockStored"]
    assert {"device", "host", "disk"} <= set(stored), "copied as they are computed"
    again = tiered.complete(prompt, max_tokens=8, ignore_eos=True)
    assert (cached_tokens(first), cached_tokens(again)) == (0, 640)
    assert again["choices"][0]["text"] == first["choices"][0]["text"]
    fetches = tiered.view("stats")["fetches"]
    assert fetches["fetched_tokens"] >= 640
    least_s, most_s = kind.s_per_token
    assert least_s <= fetches["s_per_token"] <= most_s
    loaded = tiered.metric("vllm:kv_offload_load_bytes_total")
    assert loaded == fetches["fetched_tokens"] * kind.bytes_per_token
    seconds = tiered.metric("vllm:kv_offload_load_time_total")
    assert least_s <= seconds / fetches["fetched_tokens"] <= most_s


def test_what_host_memory_evicts_is_read_from_files(tiered: ServedEngine, kind: Kind, files: Path) -> None:
    """A prompt that six others have pushed out of both comes back with the same text, and is told of where it is."""
    prompt = prompt_ids(520, 640)
    first = tiered.complete(prompt, max_tokens=8, ignore_eos=True)
    tiered.view("events")
    _fill(tiered, 521, prompts=6)
    events = tiered.view("events")
    gone = [fields["medium"] for name, fields in events if name == "BlockRemoved"]
    assert {"device", "host"} <= set(gone)
    before = tiered.view("stats")["fetches"]["fetched_tokens"]
    again = tiered.complete(prompt, max_tokens=8, ignore_eos=True)
    assert cached_tokens(again) == 640
    assert again["choices"][0]["text"] == first["choices"][0]["text"]
    assert tiered.view("stats")["fetches"]["fetched_tokens"] - before == 640
    if kind.model.engine == "vllm":
        blocks = len(list(files.rglob("*.bin")))
        assert 7 * 20 <= blocks <= 4 * KV_BLOCKS


def test_the_replica_knows_where_its_chunks_are(tiered: ServedEngine) -> None:
    """A prompt's chunks are claimed on the device, then below it, then on the device again."""
    text = "the river carries gravel and sand towards the sea " * 40
    body = {"model": "contract-model", "prompt": text, "max_tokens": 1}

    def below() -> tuple[int, int]:
        claims = tiered.claims("/v1/completions", body)
        return claims["tokens"], claims["below"]

    tiered.ok("/v1/completions", prompt=text, max_tokens=1)
    on_device, under = below()
    assert on_device > 300
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
