"""What keeps an adapter from being loaded is told at once, with what would be right."""

import json
from pathlib import Path

import pytest

from cluster.errors import ModelSourceError
from deployments.models.adapter_source import adapter_folder


def _adapter(folder: Path, config: object, *, weights: bool = True) -> str:
    (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if weights:
        (folder / "adapter_model.safetensors").write_bytes(b"")
    return str(folder)


def test_a_folder_with_an_adapter_is_taken(tmp_path: Path) -> None:
    """A folder in PEFT's form, of a rank that there is room for."""
    source = _adapter(tmp_path, {"peft_type": "LORA", "r": 8, "rank_pattern": {"q_proj": 16}})
    assert adapter_folder(source, 16) == tmp_path


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"r": 32}, "has rank 32, above the model's `adapter_rank` of 16"),
        ({"r": 8, "rank_pattern": {"q_proj": 64}}, "has rank 64"),
        ({"peft_type": "IA3", "r": 8}, "is no LoRA adapter: its peft_type is 'IA3'"),
        ({}, "gives no rank `r`"),
        ([1], "is no LoRA adapter"),
        ("{", "cannot be read"),
    ],
)
def test_an_adapter_that_cannot_be_loaded(tmp_path: Path, config: object, why: str) -> None:
    """Each mistake in `adapter_config.json` has its own words."""
    source = _adapter(tmp_path, config)
    with pytest.raises(ModelSourceError, match=f"^source '{source}'.*{why}"):
        adapter_folder(source, 16)


def test_what_is_no_adapter_at_all(tmp_path: Path) -> None:
    """A folder without one, one without weights, and a path that is not there."""
    with pytest.raises(ModelSourceError, match=r"has no adapter_config.json, so it is no LoRA adapter"):
        adapter_folder(str(tmp_path), 16)
    with pytest.raises(ModelSourceError, match=r"has no weights: neither adapter_model.safetensors nor"):
        adapter_folder(_adapter(tmp_path, {"r": 8}, weights=False), 16)
    with pytest.raises(ModelSourceError, match="no such folder, and no Hugging Face id"):
        adapter_folder("/nowhere/at/all", 16)
