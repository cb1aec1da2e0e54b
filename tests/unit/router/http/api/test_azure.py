"""Azure's paths stand for OpenAI's."""

import pytest

from router.http.api.azure import azure_target


@pytest.mark.parametrize(
    ("path", "query", "url", "model"),
    [
        (b"/openai/deployments/m/chat/completions", b"api-version=2024-10-21", b"/v1/chat/completions", "m"),
        (b"/openai/deployments/org%2Fm/embeddings", b"", b"/v1/embeddings", "org/m"),
        (b"/openai/v1/responses/r1", b"stream=true&api-version=preview", b"/v1/responses/r1?stream=true", None),
        (b"/openai/responses", b"api-version=x", b"/v1/responses", None),
        (b"/openai/models", b"", b"/v1/models", None),
    ],
)
def test_the_deployment_is_the_model(path: bytes, query: bytes, url: bytes, model: str | None) -> None:
    """The path is OpenAI's own, the deployment is the model, and Azure's version is left out."""
    target = azure_target(path, query)
    assert target is not None
    assert (target.url, target.model) == (url, model)


@pytest.mark.parametrize("path", [b"/openai/deployments/m", b"/openai/deployments//chat", b"/openai/deployments/m/"])
def test_a_deployment_alone_is_no_path(path: bytes) -> None:
    """A path that names no API of a deployment stands for nothing."""
    assert azure_target(path, b"") is None
