"""Speculative decoding in vLLM's terms."""

import importlib.util
import json
from pathlib import Path

import pytest

from cluster.errors import EngineStartError, ModelSourceError
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.env import engine_arguments, environment
from deployments.engines.vllm.speculative import with_draft_found


def _model(speculative: dict[str, object], **more: object) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "source": "s", "speculative": speculative, **more})


def _config(speculative: dict[str, object], **more: object) -> object:
    return engine_arguments(_model(speculative, **more), {}, cpu=False).get("speculative_config")


def test_each_method_is_vllms() -> None:
    """With its number of tokens, the bounds of the lookup, and the draft model; `none` is no argument at all."""
    assert _config({"method": "ngram", "lookup_max": 6}) == {
        "method": "ngram",
        "num_speculative_tokens": 5,
        "prompt_lookup_min": 2,
        "prompt_lookup_max": 6,
    }
    assert _config({"method": "eagle3", "model": "org/head", "tokens": 4}) == {
        "method": "eagle3",
        "num_speculative_tokens": 4,
        "model": "org/head",
    }
    assert _config({"method": "mtp"}) == {"method": "mtp", "num_speculative_tokens": 1}
    assert _config({"method": "none"}) is None


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("key", ["speculative_config", "speculative-config"])
def test_what_engine_args_say_wins(key: str, *, as_json: bool) -> None:
    """Each of its keys, also where it is written as JSON; and it works without `speculative`."""
    given = {"num_speculative_tokens": 2, "draft_sample_method": "probabilistic"}
    asked = {key: json.dumps(given) if as_json else given}
    assert _config({"method": "mtp"}, engine_args=asked) == {"method": "mtp", **given}
    assert _config({"method": "none"}, engine_args=asked) == asked[key]


def test_suffixes_need_a_package_and_the_start_says_which() -> None:
    """Before the model is loaded, with the command that installs it."""
    if importlib.util.find_spec("arctic_inference") is not None:
        pytest.skip("arctic-inference is installed here")
    with pytest.raises(EngineStartError, match=r"pip install arctic-inference==0\.1\.1"):
        with_draft_found(_model({"method": "suffix"}), {})


def test_a_draft_model_that_is_nowhere_is_told(tmp_path: Path) -> None:
    """By its key; one in a folder is found, and offline rules are those of both models."""
    with pytest.raises(ModelSourceError, match=r"speculative\.model: .*no config\.json"):
        with_draft_found(_model({"method": "draft_model", "model": str(tmp_path)}), {})
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    with pytest.raises(ModelSourceError, match=r"speculative\.model 'org/draft' is not in"):
        with_draft_found(_model({"method": "draft_model", "model": "org/draft"}), offline)
    (tmp_path / "config.json").write_text("{}")
    found = with_draft_found(_model({"method": "draft_model", "model": str(tmp_path)}), {})
    assert found.speculative.model == str(tmp_path)
    assert environment(found, str(tmp_path), cpu=False)["HF_HUB_OFFLINE"] == "1"
    elsewhere = _model({"method": "draft_model", "model": "org/draft"})
    assert "HF_HUB_OFFLINE" not in environment(elsewhere, str(tmp_path), cpu=False)
