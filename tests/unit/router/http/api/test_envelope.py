"""The few fields of a body that routing needs are read, and unreadable bodies refused."""

import pytest

from router.http.api.envelope import Envelope, EnvelopeError, read_json, read_multipart

FORM = (
    b'--XX\r\ncontent-disposition: form-data; name="file"; filename="model"\r\ncontent-type: audio/wav\r\n\r\n'
    b'\x00\xffname="model"\r\n--X\r\n--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--XX--\r\n'
)


def test_only_what_routing_needs_is_read() -> None:
    """Fields that routing does not need are skipped, even deep ones."""
    body = b'{"messages":[{"role":"user","content":"\\u00e9"}],"stream":true,"model":"m","x":{"y":[1,{}]}}'
    assert read_json(body) == Envelope(model="m", stream_as_sent=True)
    assert read_json(body).stream


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "valid JSON"),
        (b"{", "valid JSON"),
        (b"\xff\xfe", "valid JSON"),
        (b'{"model":"\xff"}', "valid JSON"),
        (b"[]", "object"),
        (b'{"model":5}', r"\$\.model"),
        (b'{"model":"m"} trailing', "valid JSON"),
        (b'{"x":' + b"[" * 100_000, "too deeply"),
    ],
)
def test_bad_json_says_what_is_wrong(body: bytes, says: str) -> None:
    """The error names the field, or what is wrong with the JSON."""
    with pytest.raises(EnvelopeError, match=says):
        read_json(body)


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        (b"true", True),
        (b"false", False),
        (b"null", False),
        (b'"true"', True),
        (b'"True"', True),
        (b'"yes"', True),
        (b'"on"', True),
        (b'"1"', True),
        (b"1", True),
        (b"1.0", True),
        (b'"false"', False),
        (b'"no"', False),
        (b"0", False),
        (b'"maybe"', False),
        (b"[]", False),
        (b'{"a":1}', False),
    ],
)
def test_stream_means_what_it_means_to_engines(sent: bytes, means: bool) -> None:  # noqa: FBT001 - a table
    """What pydantic takes for true is true; what it refuses is left to the engine, which says why."""
    assert read_json(b'{"stream":%s}' % sent).stream is means


@pytest.mark.parametrize(("sent", "means"), [(b"16", 16), (b'"16"', 16), (b'"many"', None), (b"-1", None)])
def test_the_answers_limit_may_be_a_number_in_quotes(sent: bytes, means: int | None) -> None:
    """Engines read a number from a string, so the gateway does."""
    assert read_json(b'{"max_tokens":%s}' % sent).answer_tokens == means


def test_a_forms_model_field_is_found_past_binary_files() -> None:
    """A file part that is named `model` is not taken for the field."""
    assert read_multipart(FORM, b"multipart/form-data; boundary=XX") == Envelope(model="whisper")


def test_a_form_without_model() -> None:
    """A form without the field has no model; the caller decides what that means."""
    body = b'--XX\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--XX--\r\n'
    assert read_multipart(body, b"multipart/form-data; boundary=XX").model is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (FORM, b"multipart/form-data"),
        (b"no form at all", b"multipart/form-data; boundary=XX"),
        (FORM.replace(b"whisper", b"w" * 600), b"multipart/form-data; boundary=XX"),
        (FORM.replace(b"whisper", b"\xff"), b"multipart/form-data; boundary=XX"),
    ],
)
def test_bad_forms_are_errors(body: bytes, content_type: bytes) -> None:
    """A form that is not well-formed, or whose model is too long or not UTF-8, is an error."""
    with pytest.raises(EnvelopeError):
        read_multipart(body, content_type)
