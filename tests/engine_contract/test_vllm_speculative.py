"""Speculative decoding in vLLM's terms: its classes take what we write for each method, without GPU or weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.env import engine_arguments
from deployments.engines.vllm.speculative import ARCTIC

if TYPE_CHECKING:
    from vllm.config.speculative import SpeculativeConfig

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch and its libraries, at their import
]
CONFIGS = Path(__file__).parent.parent / "model_configs"
SMOLLM = json.loads((CONFIGS / "smollm2-135m.json").read_text())
HEAD = {"num_hidden_layers": 1}
EAGLE3 = {**HEAD, "architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 32_000}

Checkpoint = Callable[..., str]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Return a function that writes a checkpoint's config and returns its folder."""

    def write(name: str, config: dict[str, Any]) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        return str(tmp_path / name)

    return write


def _read_by_vllm(source: str, speculative: dict[str, Any], tensor: int = 1) -> "SpeculativeConfig":
    """Return what vLLM makes of the cluster file's `speculative`."""
    from vllm.config import ParallelConfig  # noqa: PLC0415 - takes seconds to load
    from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415

    spec = ModelSpec.model_validate({"name": "m", "source": source, "speculative": speculative})
    config = engine_arguments(spec, {}, cpu=False)["speculative_config"]
    arguments = AsyncEngineArgs(model=source, max_model_len=2048, skip_tokenizer_init=True, speculative_config=config)
    found = arguments.create_speculative_config(
        arguments.create_model_config(), ParallelConfig(tensor_parallel_size=tensor)
    )
    assert found is not None
    return found


def test_ngrams_have_their_bounds(checkpoint: Checkpoint) -> None:
    """Those of the file, as vLLM's own would be 5 and 5."""
    read = _read_by_vllm(checkpoint("target", SMOLLM), {"method": "ngram", "tokens": 7, "lookup_max": 6})
    assert (read.method, read.num_speculative_tokens, read.prompt_lookup_min, read.prompt_lookup_max) == (
        "ngram",
        7,
        2,
        6,
    )


def test_suffixes_find_their_package(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it vLLM fails with the command that we tell before; with it the tokens are the most of a draft."""
    from vllm.utils.import_utils import _has_module  # noqa: PLC0415 - takes seconds to load

    target = checkpoint("target", SMOLLM)
    try:
        if not _has_module("arctic_inference"):
            with pytest.raises(ImportError, match=ARCTIC):
                _read_by_vllm(target, {"method": "suffix"})
            (tmp_path / "arctic_inference").mkdir()
            (tmp_path / "arctic_inference" / "__init__.py").touch()
            monkeypatch.syspath_prepend(tmp_path)
            _has_module.cache_clear()
        read = _read_by_vllm(target, {"method": "suffix"})
        assert (read.method, read.num_speculative_tokens) == ("suffix", 24)
    finally:
        _has_module.cache_clear()


@pytest.mark.parametrize(
    ("method", "head", "architecture", "tokens"),
    [
        ("draft_model", {"num_hidden_layers": 2}, "LlamaForCausalLM", 5),
        ("eagle", HEAD, "EagleLlamaForCausalLM", 3),
        ("eagle3", EAGLE3, "LlamaForCausalLMEagle3", 3),
    ],
)
def test_another_checkpoint_drafts(
    checkpoint: Checkpoint, method: str, head: dict[str, Any], architecture: str, tokens: int
) -> None:
    """VLLM loads it as the method's own class, with our default number of tokens."""
    draft = checkpoint("draft", {**SMOLLM, **head})
    read = _read_by_vllm(checkpoint("target", SMOLLM), {"method": method, "model": draft})
    assert (read.method, read.model, read.num_speculative_tokens) == (method, draft, tokens)
    assert read.draft_model_config.architectures == [architecture]


def test_layers_of_the_models_own_draft(checkpoint: Checkpoint) -> None:
    """DeepSeek's; a model that has none is refused."""
    deepseek = json.loads((CONFIGS / "deepseek-r1.json").read_text())
    read = _read_by_vllm(checkpoint("deepseek", deepseek), {"method": "mtp"})
    assert (read.method, read.num_speculative_tokens) == ("mtp", 1)
    assert read.draft_model_config.architectures == ["DeepSeekMTPModel"]
    with pytest.raises(NotImplementedError, match="mtp"):
        _read_by_vllm(checkpoint("target", SMOLLM), {"method": "mtp"})


def test_a_draft_model_is_divided_as_the_model(checkpoint: Checkpoint) -> None:
    """What plans rely on: SmolLM2's nine heads draft for one GPU or three, and for no group of two."""
    target = checkpoint("target", {**SMOLLM, "num_attention_heads": 12, "num_key_value_heads": 6, "hidden_size": 768})
    asked = {"method": "draft_model", "model": checkpoint("draft", SMOLLM)}
    assert _read_by_vllm(target, asked, tensor=3).draft_tensor_parallel_size == 3
    with pytest.raises(ValueError, match=r"heads \(9\) must be divisible by tensor parallel size \(2\)"):
        _read_by_vllm(target, asked, tensor=2)
