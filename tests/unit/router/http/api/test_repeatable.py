"""Which requests may be sent to another replica after one has answered with an error."""

import pytest

from router.http.api.repeatable import is_repeatable


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/v1/embeddings",
        "/v1/audio/transcriptions",
        "/rerank",
    ],
)
def test_what_keeps_nothing_is_repeatable(path: str, status: int) -> None:
    """Generating, embedding and scoring leave nothing behind on the replica."""
    assert is_repeatable(b"POST", path, b"{}", status)


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"{}", {429, 500, 503}),
        (b'{"store":true,"background":true}', {429, 500, 503}),
        (b'{"store":false}', {429, 500, 502, 503, 504}),
        (b'{"store":false,"previous_response_id":"resp_1"}', set()),
        (b"no JSON", {429, 500, 502, 503, 504}),
        (b"[" * 100_000, {429, 500, 502, 503, 504}),
    ],
)
def test_a_response_that_may_be_kept_is_made_once(body: bytes, statuses: set[int]) -> None:
    """502 and 504 do not say whether the engine still works on it; what continues another response has one place."""
    found = {status for status in (429, 500, 502, 503, 504) if is_repeatable(b"POST", "/v1/responses", body, status)}
    assert found == statuses


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (b"GET", "/v1/responses/resp_1"),
        (b"POST", "/v1/responses/resp_1/cancel"),
        (b"POST", "/v1/load_lora_adapter"),
    ],
)
def test_what_is_about_one_replica_stays_there(method: bytes, path: str) -> None:
    """Another replica would say that there is no such thing."""
    assert not is_repeatable(method, path, b"", 500)
