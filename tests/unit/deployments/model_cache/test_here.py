"""A machine's cache is warmed with the hub's own client, from a hub on this machine."""

from pathlib import Path

import pytest

from cluster.errors import ModelSourceError
from deployments.model_cache import download
from deployments.model_cache.cached_source import CachedSource
from deployments.model_cache.download import needed
from deployments.model_cache.here import CacheState, warm_here
from tests.local_hub import local_hub

pytest.importorskip("huggingface_hub")
WEIGHTS = bytes(range(256)) * 4096
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": WEIGHTS[::-1],
    "tokenizer.json": b"[]",
}


def warmed(*sources: CachedSource) -> tuple[list[CacheState], dict[str, CacheState]]:
    """Return all steps, and the last one of each source."""
    steps = list(warm_here(sources))
    return steps, {state.name: state for state in steps}


def test_one_form_of_the_weights_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told in bytes; again, nothing is fetched, and without the hub what is there will do."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    source = CachedSource("org/tiny")
    with local_hub(FILES, bytes_per_s=4e5) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        steps, last = warmed(source)
        assert last["org/tiny"].problem == ""
        assert sorted(hub.fetched) == ["config.json", "model.safetensors", "tokenizer.json"]
        told = [state.done_bytes for state in steps if state.total_bytes]
        assert told == sorted(told)
        assert 0 < max(told) <= steps[-1].total_bytes == len(WEIGHTS) + 4
        hub.fetched.clear()
        assert warmed(source)[1]["org/tiny"].ready_s is not None
        assert hub.fetched == []
    assert (tmp_path / "hub/models--org--tiny/refs/main").is_file()
    assert warmed(source)[1]["org/tiny"].ready_s is not None


def test_what_cannot_be_had_is_told_and_stops_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is not there, in the hub's words for people; the other model is downloaded all the same."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with local_hub(FILES) as hub:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        mirror = (("HF_ENDPOINT", hub.url),)
        last = warmed(CachedSource("org/none", env=mirror), CachedSource("org/tiny", env=mirror))[1]
    assert "there is no model 'org/none'" in last["org/none"].problem
    assert last["org/tiny"].ready_s is not None


def test_two_processes_download_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first: pods on one node, or nodes with one shared cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with local_hub(FILES, bytes_per_s=1e6) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        steps = list(warm_here([CachedSource("org/tiny"), CachedSource("org/tiny", "main")]))
        assert sum(state.ready_s is not None for state in steps) == 2
        assert hub.fetched.count("model.safetensors") == 1


def test_a_disk_without_room_is_told_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bytes that are missing and those that are free; one that must keep much free stands for a full one."""
    monkeypatch.setattr(download, "SPARE_BYTES", 1 << 62)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # an earlier test's import may have set it
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with local_hub(FILES) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ModelSourceError, match=r"org/tiny takes another 0\.0 GB in .* GB free"):
            download.download(CachedSource("org/tiny", folder=str(tmp_path)), {"HF_ENDPOINT": hub.url}, lambda *_: None)
        assert hub.fetched == []


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["a.safetensors", "a.bin", "original/a.pth", "x.gguf", "c.json"], ["a.safetensors", "c.json"]),
        (["a.bin", "c.json"], ["a.bin", "c.json"]),
        (
            ["consolidated.safetensors", "model-1.safetensors", "model-2.safetensors"],
            ["model-1.safetensors", "model-2.safetensors"],
        ),
        (["consolidated.safetensors", "params.json"], ["consolidated.safetensors", "params.json"]),
        (["consolidated.safetensors", "model.safetensors"], ["model.safetensors"]),
    ],
)
def test_vllm_reads_one_form_of_the_weights(files: list[str], wanted: list[str]) -> None:
    """Safetensors before pickles, Hugging Face's form before Mistral's, and none of other engines'."""
    assert needed(files) == wanted
