"""Which bodies are the same prompt, and which are not."""

import json

import pytest

from router.prompt.canonical import UnknownPromptError, assistant_piece, read_prompt
from router.prompt.message_piece import MEDIA_BYTES

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
SYSTEM = {"role": "system", "content": "Be brief."}
USER: dict[str, str] = {"role": "user", "content": "Hello, wörld"}
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]


def _pieces(path: str, body: object) -> list[bytes]:
    return read_prompt(path, json.dumps(body).encode()).pieces


def _reordered(value: object) -> object:
    """Return the same JSON with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: _reordered(value[key]) for key in reversed(value)}
    return [_reordered(item) for item in value] if isinstance(value, list) else value


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"model": "m", "messages": [SYSTEM, USER], "tools": TOOLS, "temperature": 1, "cache_salt": "s"}),
        (CHAT, {"messages": [USER, CALL, {"role": "tool", "tool_call_id": "c1", "content": "12:00"}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]}]}),
        (TEXT, {"model": "m", "prompt": "Once upon a time"}),
        (TEXT, {"prompt": [1, 2, 300], "max_tokens": 3}),
        (TEXT, {"prompt": [[1, 2, 300], [4]]}),
        (TEXT, {"prompt": ["Once", "upon"]}),
        (EMBEDDINGS, {"input": ["Once", "upon"], "model": "m"}),
        (EMBEDDINGS, {"messages": [USER]}),
        (RESPONSES, {"instructions": "Be brief.", "input": "Hello", "tools": TOOLS}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": "12"}], "model": "m"}),
        (MESSAGES, {"system": [{"type": "text", "text": "Be brief."}], "messages": [USER], "max_tokens": 9}),
        (
            MESSAGES,
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "12"}]}]},
        ),
    ],
)
def test_key_order_and_spacing_change_nothing(path: str, body: dict[str, object]) -> None:
    """The same JSON with other key order, spacing or escapes is the same prompt."""
    expected = read_prompt(path, json.dumps(body, separators=(",", ":")).encode())
    assert expected.pieces
    assert read_prompt(path, json.dumps(_reordered(body), indent=3).encode()) == expected
    assert read_prompt(path, b"\n\t " + json.dumps(body, ensure_ascii=False).encode() + b" \n") == expected


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (CHAT, {"messages": [SYSTEM, USER]}, {"messages": [USER, SYSTEM]}),
        (CHAT, {"messages": [USER]}, {"messages": [{**USER, "role": "system"}]}),
        (CHAT, {"messages": [USER]}, {"messages": [USER], "tools": TOOLS}),
        (CHAT, {"messages": [USER, USER]}, {"messages": [{**USER, "content": USER["content"] * 2}]}),
        (CHAT, {"messages": [CALL]}, {"messages": [{**CALL, "tool_calls": []}]}),
        (CHAT, {"messages": [{**USER, "name": "ann"}]}, {"messages": [{**USER, "name": "bob"}]}),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            {
                "messages": [
                    {"role": "user", "content": [{**IMAGE, "image_url": {"url": "data:image/png;base64,AAAB"}}]}
                ]
            },
        ),
        (TEXT, {"prompt": [1, 23]}, {"prompt": [12, 3]}),
        (TEXT, {"prompt": "12"}, {"prompt": [12]}),
        (
            RESPONSES,
            {"input": "Hello"},
            {"input": "Hello", "previous_response_id": "resp_1"},
        ),
        (MESSAGES, {"messages": [USER]}, {"messages": [USER], "system": "Be brief."}),
    ],
)
def test_different_prompts_have_different_bytes(path: str, one: dict[str, object], other: dict[str, object]) -> None:
    """Any change that an engine would see in the prompt changes its bytes."""
    assert _pieces(path, one) != _pieces(path, other)


def test_fields_that_are_no_prompt_change_nothing() -> None:
    """Sampling options and the like leave the prompt's bytes as they are."""
    assert _pieces(CHAT, {"messages": [USER], "temperature": 0.1, "stream": True}) == _pieces(
        CHAT, {"messages": [USER]}
    )


def test_tools_come_first_and_messages_follow_one_piece_each() -> None:
    """Pieces stand in the order in which templates render them."""
    pieces = _pieces(CHAT, {"messages": [SYSTEM, USER], "tools": TOOLS})
    assert len(pieces) == 3
    assert b'"now"' in pieces[0]
    assert b"Be brief." in pieces[1]
    assert "wörld".encode() in pieces[2]
    assert _pieces(CHAT, {"messages": [SYSTEM, USER], "tools": []}) == pieces[1:]


def test_content_cannot_imitate_another_structure() -> None:
    """One message that quotes the canonical form of two messages is not those two."""
    quoted = b"".join(_pieces(CHAT, {"messages": [USER, SYSTEM]})).decode("latin-1")
    assert b"".join(_pieces(CHAT, {"messages": [{"role": "user", "content": quoted}]})) != quoted.encode("latin-1")


def test_text_parts_are_text() -> None:
    """A single text part has the bytes of a plain string, because SDKs write either."""
    parts = [{"type": "text", "text": USER["content"]}]
    plain = _pieces(CHAT, {"messages": [USER]})
    assert _pieces(CHAT, {"messages": [{"role": "user", "content": parts}]}) == plain
    assert _pieces(MESSAGES, {"messages": [{"role": "user", "content": parts}]}) == plain
    typed = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": USER["content"]}]}]
    assert _pieces(RESPONSES, {"input": typed}) == plain
    assert _pieces(RESPONSES, {"input": USER["content"]}) == plain


def test_an_answer_is_the_next_turns_assistant_message() -> None:
    """The piece made from an answer's text is the piece of the next turn's assistant message."""
    answer = {"role": "assistant", "content": "Hi."}
    assert _pieces(CHAT, {"messages": [USER, answer]}) == [*_pieces(CHAT, {"messages": [USER]}), assistant_piece("Hi.")]
    output = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}
    assert _pieces(RESPONSES, {"input": [output]}) == [assistant_piece("Hi.")]


def test_token_ids_say_how_many_tokens_there_are() -> None:
    """A prompt of token ids has an exact token count; a text prompt has none."""
    prompt = read_prompt(TEXT, b'{"prompt": [ 11,\n 22, 33 ]}')
    assert (prompt.pieces, prompt.tokens) == ([b"11,22,33,"], 3)
    assert read_prompt(TEXT, b'{"prompt": "three words here"}').tokens == 0


def test_further_prompts_are_counted_not_looked_up() -> None:
    """Of several prompts in a body the first is looked up; the sizes of the others are added."""
    prompt = read_prompt(TEXT, b'{"prompt": ["abc", "defgh"]}')
    assert (prompt.pieces, prompt.more_bytes) == ([b"abc"], 5)


@pytest.mark.parametrize(
    ("path", "body", "size"),
    [
        ("/rerank", {"query": "abcd", "documents": ["ef", "ghi"]}, 2 * 6 + 4 + 5),
        ("/v2/rerank", {"query": "abcd", "documents": "ef"}, 6 + 4),
        ("/score", {"text_1": ["abcd"], "text_2": ["ef", "ghi"]}, 2 * 6 + 4 + 5),
        ("/v1/score", {"queries": ["abcd", "a"], "documents": ["ef", "ghi"]}, 6 + 3 + 4 + 5),
        ("/score", {"data_1": {"content": []}, "data_2": "b"}, 14 + 3),
    ],
)
def test_pairs_of_texts_have_a_size_and_no_prefix(path: str, body: dict[str, object], size: int) -> None:
    """A query is read once with each document; nothing of it is looked up."""
    prompt = read_prompt(path, json.dumps(body, separators=(",", ":")).encode())
    assert (prompt.pieces, prompt.more_bytes) == ([], size)


def test_an_input_to_classify_is_read_as_one_to_embed() -> None:
    """Texts, token ids or a chat."""
    for path in ("/classify", "/pooling"):
        assert _pieces(path, {"input": "Hi"}) == _pieces("/v1/embeddings", {"input": "Hi"}) == [b"Hi"]


_SOURCE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (CHAT, IMAGE, {**IMAGE, "image_url": {"url": "data:image/png;base64,AAAB", "detail": "low"}}),
        (CHAT, IMAGE, {**IMAGE, "image_url": {"url": "https://a.example/a.png", "detail": "low"}}),
        (CHAT, IMAGE, {**IMAGE, "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}}),
        (CHAT, IMAGE, {**IMAGE, "uuid": "a"}),
        (
            CHAT,
            {"type": "image_url", "image_url": None, "uuid": "a"},
            {"type": "image_url", "image_url": None, "uuid": "b"},
        ),
        (CHAT, {"type": "audio_url", "audio_url": {"url": "u"}}, {"type": "audio_url", "audio_url": {"url": "v"}}),
        (
            CHAT,
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (CHAT, {"type": "video_url", "video_url": {"url": "u"}}, {"type": "video_url", "video_url": {"url": "v"}}),
        (CHAT, {"type": "audio_embeds", "audio_embeds": "AAAA"}, {"type": "audio_embeds", "audio_embeds": "AAAB"}),
        (CHAT, {"type": "video_embeds", "video_embeds": "AAAA"}, {"type": "video_embeds", "video_embeds": "AAAB"}),
        (CHAT, {"type": "prompt_embeds", "data": "AAAA"}, {"type": "prompt_embeds", "data": "AAAB"}),
        (RESPONSES, {"type": "input_image", "image_url": "u"}, {"type": "input_image", "image_url": "v"}),
        (RESPONSES, {"type": "input_image", "file_id": "u"}, {"type": "input_image", "file_id": "v"}),
        (MESSAGES, {"type": "image", "source": _SOURCE}, {"type": "image", "source": {**_SOURCE, "data": "AAAB"}}),
        (MESSAGES, {"type": "image", "source": _SOURCE}, {"type": "image", "source": {"type": "url", "url": "u"}}),
    ],
)
def test_equal_media_are_equal_and_others_are_not(path: str, one: dict[str, object], other: dict[str, object]) -> None:
    """By what they hold or where they are, in every API's form, wherever they stand in the chat."""

    def pieces(*parts: dict[str, object]) -> list[bytes]:
        messages = [{"role": "user", "content": [part, {"type": "text", "text": "?"}]} for part in parts]
        return _pieces(path, {"input" if path == RESPONSES else "messages": messages})

    same, again, different = pieces(one, one, other)
    assert same == again
    assert same != different
    assert pieces(other)[0] == different


def test_megabytes_of_media_stand_as_a_digest() -> None:
    """An image takes about a kilobyte of a piece, however large it is, and a short URL not much more than itself."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    (piece,) = _pieces(CHAT, {"messages": [{"role": "user", "content": [image]}]})
    assert MEDIA_BYTES <= len(piece) < MEDIA_BYTES + 100
    source = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 1_000_000}}
    (piece,) = _pieces(MESSAGES, {"messages": [{"role": "user", "content": [source]}]})
    assert MEDIA_BYTES <= len(piece) < MEDIA_BYTES + 100
    many = [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}] * 1_000}]
    assert sum(map(len, _pieces(RESPONSES, {"input": many}))) < 1_000 * 100


@pytest.mark.parametrize("url", ["data:," + "A" * 100_000, "data:,\\u0041" + "A" * 100_000, "data:," + "é" * 100_000])
def test_a_long_url_is_the_same_however_its_object_is_written(url: str) -> None:
    """Spaces, and members that say nothing, change nothing; another URL or another member does."""

    def pieces(image: bytes) -> list[bytes]:
        part = b'{"type":"image_url","image_url":%s}' % image.replace(b"URL", url.encode())
        return read_prompt(CHAT, b'{"messages":[{"role":"user","content":[%s]}]}' % part).pieces

    plain = pieces(b'{"url":"URL"}')
    assert MEDIA_BYTES <= len(plain[0]) < MEDIA_BYTES + 100
    assert pieces(b'{ "url" : "URL" }') == pieces(b'{"url":"URL","other":1}') == plain
    assert pieces(b'{"url":"URL","detail":"low"}') != plain
    assert pieces(b'{"url":"URLA"}') != plain


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, b""),
        (CHAT, b"{"),
        (CHAT, b"[]"),
        (CHAT, b"null"),
        (CHAT, b"{}"),
        (CHAT, b'{"messages": "hello"}'),
        (CHAT, b'{"messages": [{"content": "no role"}]}'),
        (CHAT, b'{"messages": [{"role": "user", "content": 5}]}'),
        (CHAT, b'{"messages": [{"role": "user", "content": "\xff"}]}'),
        (CHAT, b'{"messages": [{"role": "user", "content": "\\ud800"}]}'),
        (CHAT, b'{"messages": [], "tools": [' + b"[" * 5000),
        (CHAT, b'{"messages": [], "tools": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
        (TEXT, b'{"prompt": 5}'),
        ("/rerank", b'{"query": "a"}'),
        ("/score", b'{"text_1": [], "text_2": ["a"]}'),
        (TEXT, b'{"prompt": []}'),
        (TEXT, b'{"prompt": [{}]}'),
        (TEXT, b'{"prompt": null}'),
        (TEXT, b"{}"),
        (EMBEDDINGS, b"{}"),
        (RESPONSES, b'{"input": 7}'),
        (MESSAGES, b'{"messages": [{"role": "user", "content": [7]}]}'),
        ("/v1/audio/transcriptions", b"--boundary"),
        ("/metrics", b""),
    ],
)
def test_what_cannot_be_understood_says_so(path: str, body: bytes) -> None:
    """A broken body raises `UnknownPromptError` and nothing else, so its request is routed without affinity."""
    with pytest.raises(UnknownPromptError):
        read_prompt(path, body)
