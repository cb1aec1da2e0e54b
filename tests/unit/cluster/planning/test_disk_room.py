"""Room on disks, from the planner's weights."""

import pytest

from cluster.planning.disk_room import SAME_SIZE, downloads, known_disk_bytes
from cluster.planning.known_models import KNOWN_CONFIGS
from cluster.spec.model_spec import ModelSpec
from cluster.spec.parts.speculative_spec import SpeculativeSpec


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


def test_each_download_counts_once() -> None:
    """Pools of one model share its files; drafts are files too; what is simulated or unknown has no size."""
    draft = SpeculativeSpec(method="draft_model", model="meta-llama/Llama-3.1-8B-Instruct")
    chat = ModelSpec(name="chat", source="meta-llama/Llama-3.3-70B-Instruct", speculative=draft)
    others = [ModelSpec(name="a", source="org/other"), ModelSpec(name="b", engine="sim", source="Qwen/Qwen3-32B")]
    found = downloads([chat, chat, *others])
    assert list(found) == ["meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"]
    assert found["meta-llama/Llama-3.3-70B-Instruct"] == pytest.approx(148e9, rel=0.01)
