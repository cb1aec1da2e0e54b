"""How many responses are kept."""

from deployments.engines.sim.api.chat_template import ContentPart, Message
from deployments.engines.sim.responses.store import MAX_CHARS, MAX_RESPONSES, ResponseStore, StoredResponse


def test_old_responses_are_forgotten() -> None:
    """Beyond the most that are kept, the oldest go."""
    store = ResponseStore()
    for number in range(MAX_RESPONSES + 10):
        store.keep(StoredResponse({"id": f"r{number}"}, [Message("user", "Hi")]))
        store.check_integrity()
    assert store.get("r9") is None
    assert store.get("r10") is not None


def test_long_chats_take_more_room() -> None:
    """Characters are bounded too, whatever form the content has; the latest response is kept in any case."""
    store = ResponseStore()
    half = "x" * (MAX_CHARS // 2)
    store.keep(StoredResponse({"id": "a"}, [Message("user", half)]))
    store.keep(StoredResponse({"id": "b"}, [Message("user", [ContentPart("text", half)])]))
    assert store.get("a") is not None
    store.keep(StoredResponse({"id": "c"}, [Message("user", half * 3)]))
    assert [store.get(name) is None for name in "abc"] == [True, True, False]
    store.check_integrity()
