"""What a replica serves: its task, and the format and size of its weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.replica.own_model import own_model
from router.replicas.replica_model import ReplicaModel

SMALL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 100,
}


def served(**model: Any) -> ReplicaModel:  # noqa: ANN401 - spec values
    """Return what a replica of a model's first pool serves."""
    return own_model(ModelSpec.model_validate({"name": "m", **model}).in_pools()[0])


def test_a_known_model_has_a_size() -> None:
    """As its maker publishes it; converted to FP8 as vLLM loads it, about half as much."""
    plain = served(source="meta-llama/Llama-3.1-8B-Instruct")
    assert (plain.task, plain.weight_format) == ("", "bf16")
    assert plain.weight_bytes == pytest.approx(16.06e9, rel=0.01)
    smaller = served(source="meta-llama/Llama-3.1-8B-Instruct", engine_args={"quantization": "fp8_per_tensor"})
    assert smaller.weight_format == "fp8"
    assert smaller.weight_bytes == pytest.approx(9.1e9, rel=0.01)
    assert served(source="openai/gpt-oss-120b").weight_format == "mxfp4"


def test_a_checkpoints_own_config_tells(tmp_path: Path) -> None:
    """A folder's `config.json` with its quantisation; one that is no model's is not known, and nothing fails."""
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {"quantization_config": {"quant_method": "fp8"}}))
    assert served(source=str(tmp_path), task="embed").weight_format == "fp8"
    (tmp_path / "config.json").write_text("{")
    assert served(source=str(tmp_path), task="embed") == ReplicaModel("embed")


def test_a_model_that_nobody_knows_has_its_task_alone() -> None:
    """As a simulated one."""
    assert served(engine="sim", task="score") == ReplicaModel("score")
