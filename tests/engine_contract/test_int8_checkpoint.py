"""An INT8 checkpoint (weights and activations) made by LLM Compressor, served by real vLLM beside the original."""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import Rate
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import weights_on_one_gpu
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
    """The right answer; the same most likely word at most places of a text, which is about as likely as a whole."""
    assert "The capital of France is Paris" in said(int8_engine, "What is the capital of France?")
    assert "CompressedTensorsW8A8Int8" in int8_engine.log.read_text()  # its kernels compute in INT8
    original, quantised = places(vllm_engine), places(int8_engine)
    agreed = [one.best == other.best for one, other in zip(original, quantised, strict=True)]
    assert sum(agreed) / len(agreed) >= 0.8
    assert perplexity(quantised) == pytest.approx(perplexity(original), rel=0.15)
    assert perplexity(quantised) != perplexity(original)  # it is another checkpoint


@dataclass(frozen=True, slots=True)
class Place:
    """What a model expects at one place of a text.

    Attributes:
        logprob: logarithm of the probability of the token that is there.
        best: the most likely token.
    """

    logprob: float
    best: str


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
    """A real vLLM that serves the checkpoint as the session's engine serves the original, but without adapters.

    On the CPU an INT8 kernel repacks its weights and drops the originals, which vLLM's adapters ask for.
    """
    keys = VLLM.model_dump(exclude={"adapters", "adapter_slots", "adapter_rank"})
    model = ModelSpec.model_validate({**keys, "source": str(CHECKPOINT)})
    served = ServedEngine(model, tmp_path_factory.mktemp("engine") / "int8.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def said(engine: ServedEngine, question: str) -> str:
    """Return the answer to a question, greedily decoded."""
    answer = engine.chat(question, max_tokens=24)
    return str(answer["choices"][0]["message"]["content"])


def places(engine: ServedEngine) -> list[Place]:
    """Return what the model expects at each place of `TEXT` but the first."""
    answer = engine.complete(TEXT, max_tokens=1, prompt_logprobs=1)
    entries = [list(entry.items()) for entry in answer["choices"][0]["prompt_logprobs"] if entry]
    return [  # the token that is there comes first
        Place(entry[0][1]["logprob"], next(token for token, found in entry if found["rank"] == 1)) for entry in entries
    ]


def perplexity(text: list[Place]) -> float:
    """Return how many tokens, about, the model takes for possible at each place."""
    return math.exp(-sum(place.logprob for place in text) / len(text))
