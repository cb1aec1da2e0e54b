"""Vectors of texts."""

import numpy as np
import pytest

from deployments.engines.sim.pooling.embeddings import DIMENSIONS, vector_of


@pytest.mark.parametrize("text", ["a", "The river runs", "x " * 5000, "\ud800", "世界"])
@pytest.mark.parametrize("dimensions", [1, 7, DIMENSIONS])
def test_vectors_have_length_1(text: str, dimensions: int) -> None:
    """Whatever the text and however many numbers are asked for; the same text has the same vector."""
    vector = vector_of(text, dimensions)
    assert vector.shape == (dimensions,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert (vector_of(text, dimensions) == vector).all()


def test_like_texts_are_near() -> None:
    """A search finds the text that shares words with the question."""
    question = vector_of("where does the river run", DIMENSIONS)
    near, far = (vector_of(text, DIMENSIONS) for text in ("the river will run to the sea", "prices of gold and oil"))
    assert question @ near > question @ far + 0.2
