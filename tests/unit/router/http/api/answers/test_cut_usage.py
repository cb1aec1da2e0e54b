"""The place of a usage in an answer is known, however the answer is cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.api.answers.cut_usage import CutUsage, open_after

USAGE = {"prompt_tokens": 20, "completion_tokens": 5}
_TEXT = st.text('ab\\"{}[],: \n\u00e9', max_size=30)
_JSON: st.SearchStrategy[Any] = st.recursive(
    _TEXT | st.integers(0, 9) | st.just({"usage": {"prompt_tokens": 99}}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


def _opened(text: str) -> bytes:
    """Return what is open at the end of a text, read letter by letter."""
    opened, is_escaped = "", False
    for letter in text:
        if opened.endswith('"'):
            if not is_escaped and letter == '"':
                opened = opened[:-1]
            is_escaped = not is_escaped and letter == "\\"
        elif letter in '"{[':
            opened += letter
        elif letter in "}]":
            opened = opened[:-1]
    return opened.encode()


@given(_JSON, st.integers(0, 300), st.integers(0, 300))
def test_what_is_open_is_known(value: object, middle: int, end: int) -> None:
    """Strings, escapes and brackets in strings are told apart, in one step and in two."""
    text = json.dumps([value])[: middle + end]
    middle = min(middle, len(text))
    while text[:middle].endswith("\\"):
        middle -= 1
    assert open_after(b"", text.encode()) == _opened(text)
    assert open_after(open_after(b"", text[:middle].encode()), text[middle:].encode()) == _opened(text)


def test_a_place_too_deep_is_no_place() -> None:
    """Brackets without end cost neither time nor memory."""
    deep = open_after(b"", b"[" * 100_000 + b"]" * 100_000)
    assert len(deep) < 10
    assert open_after(deep, b"]]]{") == deep


@given(st.lists(_JSON, max_size=8), st.lists(_JSON, max_size=8), st.integers(1, 60), st.integers(0, 200))
@pytest.mark.parametrize("streamed", [False, True])
def test_a_usage_is_found_wherever_it_is_cut(
    streamed: bool,  # noqa: FBT001 - hypothesis takes no keyword-only arguments
    before: list[object],
    after: list[object],
    read_bytes: int,
    kept_bytes: int,
) -> None:
    """Of all usages in an answer, the one at its own level is found, in what was dropped or in what was kept."""
    body = json.dumps({"content": before, "usage": USAGE, "more": after}).encode()
    if streamed:
        body = b"data: %s\n\ndata: [DONE]\n\n" % body
    cut, kept = CutUsage(chunked=False, streamed=streamed), b""
    for at in range(0, len(body), read_bytes):
        kept += body[at : at + read_bytes]
        if len(kept) > kept_bytes + read_bytes:
            kept = cut.cut(kept, kept_bytes)
    if not streamed or b"\n\n" not in kept[:-14]:
        assert cut.last(kept) == USAGE
