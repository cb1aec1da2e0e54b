"""An INT8 checkpoint (weights and activations) made by LLM Compressor, served by real vLLM beside the original."""

import json
import math
import struct
from collections.abc import Iterator

import pytest

from cluster.planning.layout import Layout
from cluster.planning.memory import weights_on_one_gpu
from cluster.planning.model_config import shape_from_config
from cluster.planning.model_shape import ModelShape, WeightGroup
from cluster.planning.precision import Rate
from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import ServedEngine
from tests.quantised_model.make import CHECKPOINT

NEEDS_CHECKPOINT = pytest.mark.skipif(
    not CHECKPOINT.is_dir(),
    reason=f"no {CHECKPOINT}: `make quantised-model` makes it where the package index has LLM Compressor",
)
SCALES = 30 * (576 + 2 * 192 + 576 + 2 * 1536 + 576)
"""Outputs of all linear layers, each of which has a scale."""
QUESTIONS = (
    "What is the capital of France?",
    "What is the capital of Italy?",
    "Say hello in Spanish.",
    "Which planet is the largest in the solar system?",
)
TEXT = (
    "Photosynthesis is the process by which green plants use sunlight to make food from carbon dioxide and water. "
    "The process takes place in the leaves, which contain a green pigment called chlorophyll. The light is absorbed by "
    "the chlorophyll and turned into chemical energy, and oxygen is released into the air."
)


@NEEDS_CHECKPOINT
def test_the_checkpoint_has_the_planned_size() -> None:
    """To the byte, but for the scales: the file has them in 16 bits, and vLLM loads them into 32."""
    shape = planned()
    assert {shape.precision(part).name for part in (WeightGroup.MLP, WeightGroup.ATTENTION)} == {"int8"}
    assert shape.precision(WeightGroup.MLP).rates == (Rate.INT8, Rate.BF16)
    assert shape.weight_bytes == pytest.approx(tensor_bytes() + 2 * SCALES, abs=1)
    assert weights_on_one_gpu(shape, Layout()) == pytest.approx(shape.weight_bytes)


@pytest.mark.vllm
@pytest.mark.long
@pytest.mark.timeout(900)
@NEEDS_CHECKPOINT
def test_vllm_serves_it_with_nearly_the_originals_answers(vllm_engine: ServedEngine, int8_engine: ServedEngine) -> None:
    """The right answer, the same first word as a rule, and a text that is as likely within a few percent."""
    assert said(int8_engine, "What is the capital of France?") == "The capital of France is Paris."
    first = [said(engine, question).split()[:1] for question in QUESTIONS for engine in (vllm_engine, int8_engine)]
    assert sum(one == other for one, other in zip(first[::2], first[1::2], strict=True)) >= len(QUESTIONS) - 1
    bf16, int8 = perplexity(vllm_engine), perplexity(int8_engine)
    assert int8 == pytest.approx(bf16, rel=0.1)
    assert int8 != bf16  # it is another checkpoint


def planned() -> ModelShape:
    """Return what the planner reads from the checkpoint's config."""
    return shape_from_config(json.loads((CHECKPOINT / "config.json").read_text()), "int8")


def tensor_bytes() -> int:
    """Return the bytes of all tensors in the checkpoint's file, from its header."""
    with (CHECKPOINT / "model.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    offsets = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    return sum(end - start for start, end in offsets)


@pytest.fixture(scope="module")
def int8_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """A real vLLM that serves the checkpoint, as the session's engine serves the original."""
    model = ModelSpec.model_validate({**VLLM.model_dump(), "source": str(CHECKPOINT)})
    served = ServedEngine(model, tmp_path_factory.mktemp("engine") / "int8.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def said(engine: ServedEngine, question: str) -> str:
    """Return the answer to a question, greedily decoded."""
    answer = engine.chat(question, max_tokens=24)
    return str(answer["choices"][0]["message"]["content"])


def perplexity(engine: ServedEngine) -> float:
    """Return the perplexity of `TEXT`: how many words, about, the model takes for possible at each place."""
    answer = engine.complete(TEXT, max_tokens=1, prompt_logprobs=0)
    found = [next(iter(entry.values()))["logprob"] for entry in answer["choices"][0]["prompt_logprobs"] if entry]
    return math.exp(-sum(found) / len(found))
