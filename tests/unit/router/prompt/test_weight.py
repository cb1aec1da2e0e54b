"""A body's weight says how much work it is, whatever its length, and costs little to find."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prompt.canonical import UnknownPromptError, read_prompt
from router.prompt.chunk_chain import ChunkHasher
from router.prompt.message_piece import MEDIA_BYTES
from router.prompt.outline import IS_COMPILED, outline_of
from router.prompt.weight import (
    MAX_HASHED_BYTES,
    MAX_MESSAGES,
    MAX_READ_WEIGHT,
    MAX_WEIGHT,
    TooHeavyError,
    check_weight,
    weigh_interpreted,
    weight_of,
)

CHAT = "/v1/chat/completions"
compiled = pytest.mark.skipif(not IS_COMPILED, reason="router/prompt/prompt_scan.c is not compiled: run `make setup`")
values = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=5)),
)


def _chat(*messages: object, **more: object) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


@pytest.mark.parametrize("text", ["word " * 100_000, "{[,]} " * 100_000, '\\"' * 100_000, "é" * 100_000])
def test_long_texts_weigh_nothing(text: str) -> None:
    """What stands inside of a text is no value, however it looks."""
    body = _chat({"role": "user", "content": text})
    assert weight_of(body) < 100
    assert weigh_interpreted(body, 1000) < 100


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'"",', b"1,1,1,1,1,1,1,1,", b'{"a":1},', b" " * 128, b"[", b'"a":{'])
def test_many_values_weigh_much(unit: bytes) -> None:
    """Each kind of value counts, in bodies that are no JSON too."""
    heavy = unit * (MAX_WEIGHT // 8 + 1)
    assert weight_of(heavy) > MAX_WEIGHT
    assert weigh_interpreted(heavy, MAX_WEIGHT) > MAX_WEIGHT
    with pytest.raises(TooHeavyError, match="too many values"):
        check_weight(heavy)
    light = unit * (MAX_WEIGHT // 64)
    assert weight_of(light) <= MAX_WEIGHT
    assert weigh_interpreted(light, MAX_WEIGHT) <= MAX_WEIGHT


@compiled
@given(value=values, most=st.sampled_from([1, 50, 1_000_000]))
def test_compiled_code_weighs_alike(value: object, most: int) -> None:
    """Python's weight is that of compiled code, but for how far a bound is passed."""
    from router.prompt.prompt_scan import weigh  # noqa: PLC0415 - it is not there where it is not compiled

    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    right, found = weigh(body, most), weigh_interpreted(body, most)
    assert right == found if right <= most else found > most


@compiled
def test_a_chat_with_too_many_messages_has_no_outline() -> None:
    """They are counted as they are found; those with more than text may be too heavy before."""
    for message, why in (
        ({"role": "user", "content": "x"}, f"over {MAX_MESSAGES} messages"),
        ({"role": "tool", "tool_call_id": "c"}, "too many values"),
    ):
        assert outline_of(CHAT, _chat(*[message] * (MAX_MESSAGES // 2))) is not None
        with pytest.raises(TooHeavyError, match=why):
            outline_of(CHAT, _chat(*[message] * (MAX_MESSAGES + 1)))


@compiled
def test_an_outline_knows_the_weight_beside_its_messages() -> None:
    """Messages have their own, so that a reader can stop between two."""
    tools = [{"a": 1}] * 100
    outline = outline_of(CHAT, _chat({"role": "tool", "tool_call_id": "c"}, tools=tools))
    assert outline is not None
    ((start, end, own),) = [piece for piece in outline.pieces if isinstance(piece, tuple)]
    assert (end > start, own) == (True, 8 * 5)
    assert 100 * 17 <= outline.weight <= 100 * 17 + 100


def test_a_session_is_read_up_to_what_a_moment_allows() -> None:
    """The beginning of a very long one is looked up as ever, the rest is counted."""
    call = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    turns = [call, {"role": "tool", "tool_call_id": "c", "content": "done"}]
    long, longer = (read_prompt(CHAT, _chat(*turns * count)) for count in (100, 300))
    assert longer.pieces[: len(long.pieces)] == long.pieces
    endless = _chat(*turns * 3000)
    if not IS_COMPILED:
        with pytest.raises(UnknownPromptError, match="too many values"):
            read_prompt(CHAT, endless)
        return
    prompt = read_prompt(CHAT, endless)
    assert len(longer.pieces) < len(prompt.pieces) < 6000
    assert prompt.pieces[: len(longer.pieces)] == longer.pieces
    assert prompt.more_bytes > len(endless) // 4


@compiled
def test_photos_beyond_the_bound_count_as_photos() -> None:
    """The size of what is not read is that of a prompt with so many images, not that of their bytes."""
    photo = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:," + "A" * 3_000_000}}]}
    prompt = read_prompt(CHAT, _chat(*[photo] * 10))
    assert len(prompt.pieces) == 2
    assert 8 * MEDIA_BYTES <= prompt.more_bytes <= 8 * 2 * MEDIA_BYTES


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, _chat({"role": "user", "content": "a" * 100}, {"role": "user", "content": "x" * 12_000_000})),
        ("/v1/completions", json.dumps({"prompt": "x" * 12_000_000}).encode()),
    ],
)
def test_only_the_beginning_of_an_enormous_text_is_hashed(path: str, body: bytes) -> None:
    """The whole counts, and what is hashed is what a prompt with the same beginning has."""
    hasher = ChunkHasher(1)
    chain = hasher.of_body(path, body, model="m")
    assert 12_000_000 <= chain.size_bytes < 12_000_200
    assert chain.ends[-1] <= MAX_HASHED_BYTES
    shorter = hasher.of_body(path, body[:4_000_000] + (b'"}]}' if path == CHAT else b'"}'), model="m")
    common = len(shorter) - 1
    assert common > 1000
    assert chain.hashes[:common] == shorter.hashes[:common]
    assert hasher.extended(chain, b"assistant") is chain
    assert hasher.extension(chain, b"assistant" * 100) is None


def test_tools_without_end_are_taken_as_they_came() -> None:
    """They are part of the prompt, but not sorted: that would take long."""
    tools = [{"b": 1, "a": 2}] * (MAX_READ_WEIGHT // 16)
    raw = json.dumps(tools).encode()
    body = b'{"model":"m","tools":%s,"messages":[{"role":"user","content":"hi"}]}' % raw
    if not IS_COMPILED:
        with pytest.raises(UnknownPromptError):
            read_prompt(CHAT, body)
        return
    assert raw in read_prompt(CHAT, body).pieces[0]


@compiled
@pytest.mark.parametrize("unit", ["word ", "中文", "\\n", "😀", '\\"', "\\ud83d\\ude00"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_texts_of_any_length_are_read_to_their_end(path: str, unit: str) -> None:
    """Beyond the first megabyte nothing is checked and escapes stay, but a text ends where it ends."""
    text = unit.encode() * (3_000_000 // len(unit.encode()))
    member = b'"prompt":"%s"' if path != CHAT else b'"messages":[{"role":"user","content":"%s"}]'
    body = b'{"model":"m",%s,"stream":true}' % (member % text)
    outline = outline_of(path, body)
    assert outline is not None
    assert json.loads(outline.rest)["stream"] is True
    (piece,) = read_prompt(path, body).pieces
    plain = json.loads(b'"%s"' % text).encode()
    start = 5 if path == CHAT else 0
    assert piece[start : start + 200_000] == plain[:200_000]
    for cut in (2_000_000, 2_000_001):
        assert outline_of(path, body[:cut]) is None
