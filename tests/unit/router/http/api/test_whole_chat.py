"""A chat that is decoded once means what it means when it is read for each purpose."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.api.envelope import EnvelopeError, read_json
from router.http.api.whole_chat import read_chat
from router.prompt.canonical import UnknownPromptError, read_prompt

CHAT = "/v1/chat/completions"
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant"])},
        optional={"content": st.one_of(st.text(max_size=9), VALUES), "name": VALUES, "tool_calls": VALUES},
    ),
    max_size=4,
)
CHATS = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.one_of(MESSAGES, MESSAGES, VALUES),
        "model": st.one_of(st.just("m"), st.just("m" * 600), VALUES),
        "stream": VALUES,
        "cache_salt": st.one_of(st.text(max_size=5), st.just("s" * 1025), VALUES),
        "max_tokens": VALUES,
        "stream_options": VALUES,
        "tools": VALUES,
        "documents": VALUES,
    },
)


@given(chat=CHATS, cut=st.sampled_from([0] * 9 + [1, 2]))
def test_a_chat_means_the_same_decoded_once(chat: dict[str, object], cut: int) -> None:
    """Its fields and its prompt are those that are read alone; what cannot be read so is left to them."""
    body = json.dumps(chat).encode()
    body = body[: len(body) - cut]
    read = read_chat(body)
    try:
        prompt = read_prompt(CHAT, body)
        envelope = read_json(body)
    except (UnknownPromptError, EnvelopeError):
        assert read is None
    else:
        assert read is not None
        assert read[0] == envelope
        assert read_prompt(CHAT, body, read[1]) == prompt


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"[" * 100_000, b'{"messages":[{"role":"\xff"}]}'])
def test_what_is_no_chat_is_left_to_others(body: bytes) -> None:
    """Whatever is wrong with it, they tell the client."""
    assert read_chat(body) is None
