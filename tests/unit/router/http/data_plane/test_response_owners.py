"""The owners of stored responses are remembered in bounded memory."""

import pytest

from router.http.data_plane import response_owners
from router.http.data_plane.response_owners import ResponseOwner, ResponseOwners

OWNER = ResponseOwner("m", "r0", "anonymous")


def test_the_response_not_asked_for_the_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the bound are kept, and what is asked for stays."""
    monkeypatch.setattr(response_owners, "MAX_RESPONSES", 3)
    owners = ResponseOwners()
    for name in "abc":
        owners.note(name, OWNER)
    assert owners.find("a") == OWNER
    owners.note("d", OWNER)
    assert [owners.find(name) is not None for name in "abcd"] == [True, False, True, True]
    assert len(owners) == 3


def test_an_answer_is_looked_at_until_its_id_comes_or_too_much_has_come() -> None:
    """An answer without an id is not kept."""
    owners = ResponseOwners()
    assert not owners.note_answer(b'{"id": "resp', OWNER)
    assert owners.note_answer(b'{"id": "resp_1"', OWNER)
    assert owners.find("resp_1") == OWNER
    assert owners.note_answer(b" " * 10_000, OWNER)
    assert len(owners) == 1
