"""Compiled code reads prompts as the decoders do, which say what is right."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import MsgspecError

from router.http.api.envelope import EnvelopeError, read_json
from router.prompt import canonical
from router.prompt.canonical import Prompt, UnknownPromptError, read_prompt
from router.prompt.outline import IS_COMPILED, Outline, outline_of

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="router/prompt/prompt_scan.c is not compiled: run `make setup`")

MEMBERS = {
    "/v1/chat/completions": "messages",
    "/v1/messages": "messages",
    "/v1/completions": "prompt",
    "/v1/responses": "input",
}
ODD_BYTES = b'"\\{}[],:0123 eE+-.tfnu\x00\x1f\x7f\x80\xc3\xed\xf4\xff'
texts = st.lists(
    st.sampled_from(["", "hi", 'a"b\\c\n', "\t/\x00", "é是😀", "\ud83d", "\ude00", "\u2028\x7f", "x" * 70]), max_size=4
).map("".join)
others = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.just(-1.5e300), texts, st.just([{"a": [{}, []]}]))
parts = st.one_of(
    texts,
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.dictionaries(st.sampled_from(["type", "text", "image_url", "cache_control"]), others, max_size=3),
)
contents = st.one_of(texts, st.lists(parts, max_size=20), others)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "", "é"]), "content": contents}),
    st.dictionaries(st.sampled_from(["role", "content", "type", "name", "tool_calls"]), contents, max_size=4),
)
prompts = st.one_of(texts, st.lists(messages, max_size=5), st.lists(others, max_size=3), others)
spaces = st.sampled_from(["", " ", "\n\t\r "])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a path and a body for it, written in one of the ways in which clients write JSON."""
    path = draw(st.sampled_from(sorted(MEMBERS)))
    members: list[tuple[str, Any]] = [(MEMBERS[path], draw(prompts))]
    beside = st.sampled_from(["model", "stream", "max_tokens", "cache_salt", "tools", "system", "instructions"])
    members += draw(st.lists(st.tuples(beside, others), max_size=4))
    if draw(st.integers(0, 9)) == 0:
        members.append((MEMBERS[path], draw(prompts)))
    space, ascii_only = draw(spaces), draw(st.booleans())
    written = [
        f"{space}{json.dumps(name)}{space}:{space}{json.dumps(value, ensure_ascii=ascii_only)}{space}"
        for name, value in draw(st.permutations(members))
    ]
    return path, f"{space}{{{','.join(written)}}}{space}".encode("utf-8", "surrogatepass")


def _decoded(path: str, body: bytes) -> Prompt | None:
    try:
        return canonical._READERS[path](body)
    except (MsgspecError, ValueError, OverflowError, RecursionError, UnknownPromptError):
        return None


def _outlined(path: str, body: bytes) -> Prompt | None:
    try:
        return read_prompt(path, body)
    except UnknownPromptError:
        return None


def _envelope(body: bytes) -> object:
    try:
        return read_json(body)
    except EnvelopeError as error:
        return str(error)


def _check(path: str, body: bytes) -> Outline | None:
    """Check that a body means the same in outline and decoded; return its outline."""
    outline = outline_of(path, body)
    assert _outlined(path, body) == _decoded(path, body)
    if outline is not None:
        assert _envelope(outline.rest) == _envelope(body)
    return outline


@given(asked=bodies())
def test_bodies_mean_the_same_in_outline(asked: tuple[str, bytes]) -> None:
    """Prompt and envelope are those of the decoders, whatever is in the body."""
    _check(*asked)


@given(asked=bodies(), seed=st.integers(0, 2**32), changes=st.integers(1, 3))
def test_broken_bodies_are_left_to_the_decoders(asked: tuple[str, bytes], seed: int, changes: int) -> None:
    """With bytes changed, added or taken away: what is no JSON any more has no outline, all else means the same."""
    path, body = asked
    rng, broken = Random(seed), bytearray(body)
    for _ in range(changes):
        at = rng.randrange(len(broken))
        broken[at : at + rng.randrange(2)] = bytes([rng.choice(ODD_BYTES)]) if rng.random() < 0.7 else b""
    outline = _check(path, bytes(broken))
    if outline is not None:
        json.loads(bytes(broken).decode("utf-8"))


@given(chat=st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": texts}), min_size=1, max_size=5))
def test_plain_chats_are_read_by_compiled_code(chat: list[dict[str, str]]) -> None:
    """It is the usual chat that has an outline with all pieces, so the test above tests something."""
    sound = [{**message, "content": message["content"].encode("utf-8", "ignore").decode()} for message in chat]
    outline = outline_of("/v1/chat/completions", json.dumps({"model": "m", "messages": sound}).encode())
    assert outline is not None
    assert outline.rest == b'{"model": "m", "messages": null}'
    assert outline.pieces == [b"user\xfe" + message["content"].encode() + b"\xff" for message in sound]
