"""A form's model is read as the engine reads it, and a form that could be read differently is refused."""

import pytest

from router.http.api.envelope import Envelope, EnvelopeError
from router.http.api.form import read_form, with_model_field

KIND = b"multipart/form-data; boundary=XX"
AUDIO = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a;b.wav"\r\ncontent-type: audio/wav\r\n\r\n'
FILE = AUDIO + b'\x00\xff name="model"\r\n--X\r\n'
END = b"--XX--\r\n"


def _field(disposition: str, value: str, headers: str = "") -> bytes:
    return f"--XX\r\nContent-Disposition: form-data{disposition}\r\n{headers}\r\n{value}\r\n".encode()


MODEL = _field('; name="model"', "whisper")


@pytest.mark.parametrize(
    "field",
    [
        MODEL,
        _field("; name=model", "whisper", "Content-Type: text/plain; charset=utf-8\r\n"),
        _field(';name="model";', "whisper", "content-transfer-encoding: 8bit\r\n"),
    ],
)
def test_a_plain_field_is_found_past_binary_files(field: bytes) -> None:
    """What `requests`, browsers and .NET send is read, wherever it stands."""
    for body in (FILE + field + END, field + FILE + END):
        assert read_form(body, KIND) == Envelope(model="whisper")


def test_a_form_without_model() -> None:
    """A form without the field has no model; the caller decides what that means."""
    assert read_form(_field('; name="a"', "b") + END, KIND).model is None


NOT_PLAIN = {
    "no boundary": (MODEL + END, b"multipart/form-data"),
    "two boundaries": (MODEL + END, KIND + b"; boundary=YY"),
    "a boundary in pieces": (MODEL + END, b"multipart/form-data; boundary*0=X; boundary*1=X"),
    "another charset": (MODEL + END, KIND + b"; charset=utf-16"),
    "no form at all": (b"no form at all", KIND),
    "no end": (MODEL, KIND),
    "too long": (_field('; name="model"', "w" * 3000) + END, KIND),
    "not UTF-8": (MODEL.replace(b"whisper", b"\xff") + END, KIND),
    "two fields": (MODEL + _field('; name="model"', "other") + END, KIND),
    "a file of that name": (MODEL + _field('; name="model"; filename="x"', "other") + END, KIND),
    "filename*": (_field("; name=\"model\"; filename*=utf-8''a", "other") + END, KIND),
    "two names": (_field('; name="x"; name="model"', "other") + END, KIND),
    "name*": (_field("; name*=utf-8''model", "other") + END, KIND),
    "a name in pieces": (_field('; name*0="mo"; name*1="del"', "other") + END, KIND),
    "an escaped name": (_field('; name="mod\\el"', "other") + END, KIND),
    "another case": (_field('; name="Model"', "other") + END, KIND),
    "spaces in the name": (_field('; name=" model"', "other") + END, KIND),
    "no name": (_field("", "other") + END, KIND),
    "two dispositions": (_field('; name="x"', "o", 'Content-Disposition: form-data; name="model"\r\n') + END, KIND),
    "encoded": (_field('; name="model"', "bQ==", "Content-Transfer-Encoding: base64\r\n") + END, KIND),
    "a part's charset": (_field('; name="model"', "m", "Content-Type: text/plain; charset=utf-7\r\n") + END, KIND),
    "a padded boundary": (MODEL + b'--XX \r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' + END, KIND),
    "a boundary that goes on": (MODEL + FILE + b"--XXY\r\n" + END, KIND),
    "a line's end before the name": (_field('; name=\n"model"', "other") + END, KIND),
    "a control character": (_field('; name="model"\x0b', "other") + END, KIND),
    "too many parts": (_field('; name="a"', "b") * 1001 + MODEL + END, KIND),
}


@pytest.mark.parametrize(("body", "content_type"), NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_a_form_that_is_not_plain_is_an_error(body: bytes, content_type: bytes) -> None:
    """A form that is broken, or that frameworks read in different ways, is refused."""
    with pytest.raises(EnvelopeError):
        read_form(body, content_type)


@pytest.mark.parametrize("data", [b"\0" * 200_000, b"\r\n--X" * 50_000, b"\r\n" * 100_000 + b"--X"])
def test_the_inside_of_long_files_is_passed_over(data: bytes) -> None:
    """What stands before and behind them is read, and nothing in them is taken for a field."""
    inside = b'\r\n\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n'
    file = AUDIO + data + inside + data + b"\r\n"
    for body in (file + MODEL + file + END, MODEL + file + END, file + file + MODEL + END + data):
        assert read_form(body, KIND) == Envelope(model="whisper")


def test_a_model_is_put_before_the_first_part() -> None:
    """A form gets the field that it lacks; all else stays as it is."""
    body = FILE + END
    filled = with_model_field(body, KIND, "mé")
    assert filled is not None
    assert read_form(filled, KIND) == Envelope(model="mé")
    assert filled.endswith(body)
    assert with_model_field(b"preamble\r\n" + body, KIND, "m") is None
