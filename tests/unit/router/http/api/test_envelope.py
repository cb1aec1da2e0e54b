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
    assert read_json(body) == Envelope(model="m", stream=True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "valid JSON"),
        (b"{", "valid JSON"),
        (b"\xff\xfe", "valid JSON"),
        (b'{"model":"\xff"}', "valid JSON"),
        (b"[]", "object"),
        (b'{"model":5}', r"\$\.model"),
        (b'{"stream":"yes"}', r"\$\.stream"),
        (b'{"model":"m"} trailing', "valid JSON"),
        (b'{"x":' + b"[" * 100_000, "too deeply"),
    ],
)
def test_bad_json_says_what_is_wrong(body: bytes, says: str) -> None:
    """The error names the field, or what is wrong with the JSON."""
    with pytest.raises(EnvelopeError, match=says):
        read_json(body)


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
