"""A response's id is found in paths and in answers, and one made for a tenant says whose it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.api.response_id import id_in, is_of_tenant, is_response, new_response_id, response_path
from router.http.wire.chunked import chunk


@pytest.mark.parametrize(
    ("path", "response_id", "methods"),
    [
        (b"/v1/responses/resp_1", "resp_1", (b"GET", b"DELETE")),
        (b"/v1/responses/resp_1/cancel", "resp_1", (b"POST",)),
        (b"/v1/responses/resp_1/input_items", "resp_1", (b"GET",)),
    ],
)
def test_paths_name_a_response(path: bytes, response_id: str, methods: tuple[bytes, ...]) -> None:
    """The paths of OpenAI's API for a stored response are known, with their methods."""
    assert response_path(path) == (response_id, methods)


@pytest.mark.parametrize(
    "path", [b"/v1/responses/", b"/v1/responses/a/b", b"/v1/responses/a%2Fb", b"/v1/responses/a b"]
)
def test_other_paths_name_none(path: bytes) -> None:
    """Unknown paths, and ids that are not safe in a path, are none."""
    assert response_path(path) is None


JSON = b'{"id": "resp_1", "object": "response", "output": [{"id":"msg_1"}]}'
EVENT = b'event: response.created\ndata: {"response":{"id":"resp_1","object":"response"},"type":"response.created"}\n\n'


@pytest.mark.parametrize("whole", [JSON, EVENT, chunk(JSON), chunk(EVENT) + chunk(EVENT)])
@given(st.data())
def test_an_answers_id_is_found_however_it_is_cut(whole: bytes, data: st.DataObject) -> None:
    """The id is found as soon as it is whole, and never in part."""
    end = data.draw(st.integers(0, len(whole)))
    assert id_in(whole[:end]) == ("resp_1" if b'"resp_1"' in whole[:end] else None)


def test_an_id_cut_by_chunks_is_found() -> None:
    """A chunk's border within the id is not part of it."""
    assert id_in(chunk(JSON[:12]) + chunk(JSON[12:])) == "resp_1"


def test_only_a_response_of_that_id_is_believed() -> None:
    """An answer that has the id elsewhere, or is no response, is not taken for it."""
    assert is_response(b'{"object":"response","id":"resp_1"}', "resp_1")
    for body in (b'{"id":"resp_2"}', b'{"error":{"message":"resp_1"}}', b'{"x":{"id":"resp_1"}}', b"", b"[]", b"\xff"):
        assert not is_response(body, "resp_1")


def test_an_id_says_whose_it_is() -> None:
    """Every gateway can tell, and one tenant's id is no other's."""
    made = new_response_id("acme")
    assert is_of_tenant(made, "acme")
    assert not is_of_tenant(made, "rival")
    assert made != new_response_id("acme")
    assert response_path(f"/v1/responses/{made}".encode()) is not None
    for other in ("resp_1", "", made[:-1], made + "0"):
        assert not is_of_tenant(other, "acme")
