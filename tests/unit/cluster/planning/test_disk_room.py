"""Room on disks, from the planner's weights."""

import json

import pytest

from cluster.model_shapes.known_models import KNOWN_CONFIGS
from cluster.model_shapes.model_config import shape_from_config
from cluster.planning.disk_room import (
    ON_DISK,
    PLANNED_GB,
    SAME_SIZE,
    disk_bytes,
    downloads,
    guessed_disk_bytes,
    known_disk_bytes,
)
from cluster.spec.model_parts.speculative_spec import SpeculativeSpec
from cluster.spec.model_spec import ModelSpec
from tests.data_files import data_folder
from tests.unit.cluster.model_shapes.test_published_families import CONFIGS

FILES = data_folder() / "cases" / "operators" / "models"
PUBLISHED = {
    "MiniMaxAI/MiniMax-M2": "minimax-m2",
    "Qwen/Qwen3-Next-80B-A3B-Instruct": "qwen3-next-80b",
    "Qwen/Qwen3-VL-235B-A22B-Instruct": "qwen3-vl-235b",
    "deepseek-ai/DeepSeek-V3.2": "deepseek-v3.2",
    "google/gemma-3-27b-it": "gemma-3-27b",
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": "llama-4-maverick",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": "llama-4-scout",
    "moonshotai/Kimi-K2.5": "kimi-k2.5",
    "openai/gpt-oss-20b": "gpt-oss-20b",
    "zai-org/GLM-4.5": "glm-4.5",
    "zai-org/GLM-4.5-Air": "glm-4.5-air",
}
"""Sources and the configs of theirs that other tests hold against published sizes."""
OPERATORS = {
    "Qwen/Qwen2.5-72B-Instruct": "qwen2.5-72b",
    "Qwen/Qwen2.5-72B-Instruct-AWQ": "qwen2.5-72b-awq",
    "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4": "qwen2.5-72b-gptq-int4",
    "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8": "qwen2.5-72b-gptq-int8",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "qwen3-30b-a3b",
    "Qwen/Qwen3-8B": "qwen3-8b",
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": "qwen3-coder-480b-a35b",
    "moonshotai/Kimi-K2-Instruct": "kimi-k2-fp8",
    "moonshotai/Kimi-K2-Instruct-0905": "kimi-k2-fp8",
    "moonshotai/Kimi-K2-Thinking": "kimi-k2-thinking-int4",
    "nvidia/DeepSeek-R1-FP4": "deepseek-r1-nvfp4",
}
"""Sources and operators' files of them."""


@pytest.mark.parametrize(
    ("source", "published_gb"),
    [
        ("deepseek-ai/DeepSeek-R1", 689),  # its repository's files
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", 141),  # two bytes for each of 70.6 B
        ("openai/gpt-oss-120b", 65.2),  # model card, table 1: checkpoint of 60.8 GiB
        ("Qwen/Qwen3-32B", 65.5),  # two bytes for each of 32.8 B
    ],
)
def test_a_checkpoint_fits_in_its_room(source: str, published_gb: float) -> None:
    """The published files fit, and less than a tenth of the room stays empty."""
    assert published_gb * 1e9 <= known_disk_bytes()[source] < 1.1 * published_gb * 1e9


def test_every_source_is_of_a_known_model() -> None:
    """Each checkpoint of the same size names a model that is known."""
    assert set(SAME_SIZE.values()) <= KNOWN_CONFIGS.keys()


@pytest.mark.parametrize("source", PLANNED_GB)
def test_planned_sizes_are_the_planners(source: str) -> None:
    """Each figure is what the planner makes of the checkpoint's own config."""
    if source in PUBLISHED:
        config = CONFIGS[PUBLISHED[source]]
    else:
        file = FILES / f"{OPERATORS[source]}.json"
        if not file.is_file():
            pytest.skip(f"no {file}: $RACKSERVE_DATA names the folder of shared data")
        config = json.loads(file.read_text())
    assert shape_from_config(config, source).weight_bytes == pytest.approx(PLANNED_GB[source] * 1e9, rel=0.005)


@pytest.mark.parametrize(
    ("source", "billions"),
    [
        ("org/Chat-480B-A35B", 480),
        ("org/chat-0.5b", 0.5),
        ("70B-org/chat", 0),
        ("org/chat-8bit", 0),
        ("org/chat", 0),
    ],
)
def test_a_guess_is_two_bytes_for_each_parameter_that_the_name_tells(source: str, billions: float) -> None:
    """Of several numbers the largest, as the others are active parameters; `8bit` is no number of parameters."""
    assert guessed_disk_bytes(source) == round(billions * 2e9 * ON_DISK)


def test_disks_have_room_for_what_is_guessed_and_folders_need_none() -> None:
    """Known sizes where there are some, else the guess; a folder is there already."""
    sources = ("openai/gpt-oss-20b", "org/a-7B", "/models/b-70B")
    models = [ModelSpec(name=f"m{number}", source=source) for number, source in enumerate(sources)]
    assert disk_bytes(models) == pytest.approx((13.8e9 + 14e9) * ON_DISK)


def test_each_download_counts_once() -> None:
    """Pools of one model share its files; drafts are files too; what is simulated or unknown has no size."""
    draft = SpeculativeSpec(method="draft_model", model="meta-llama/Llama-3.1-8B-Instruct")
    chat = ModelSpec(name="chat", source="meta-llama/Llama-3.3-70B-Instruct", speculative=draft)
    others = [ModelSpec(name="a", source="org/other"), ModelSpec(name="b", engine="sim", source="Qwen/Qwen3-32B")]
    found = downloads([chat, chat, *others])
    assert list(found) == ["meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"]
    assert found["meta-llama/Llama-3.3-70B-Instruct"] == pytest.approx(148e9, rel=0.01)
