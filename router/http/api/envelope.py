"""The few fields of a request body that the gateway needs; the body itself is forwarded as it came."""

from email.message import Message
from typing import Any

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

MAX_MODEL_FIELD = 512
"""Bytes above which a multipart `model` field is an error; names have at most 128 characters."""


MAX_DIGITS = 9
"""Digits above which a number in quotes is not read."""


class EnvelopeError(Exception):
    """The request body cannot be read; the message is for the client."""


_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
"""Words that engines take for true, in any case: pydantic's conversion table, in its lax mode."""


class Envelope(msgspec.Struct, gc=False):
    """The fields that the gateway reads of a body. All others are skipped; the engine checks them."""

    model: str | None = None
    stream_as_sent: Any = msgspec.field(default=None, name="stream")
    cache_salt: str | None = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None

    @property
    def stream(self) -> bool:
        """Whether the answer is to be a stream, as an engine that checks with pydantic understands the field."""
        sent = self.stream_as_sent
        return sent is True or (sent is not None and (sent == 1 or (isinstance(sent, str) and sent.lower() in _TRUE)))

    @property
    def answer_tokens(self) -> int | None:
        """The request's own limit of its answer's tokens, from the first of three fields that sets one; else None."""
        for limit in (self.max_completion_tokens, self.max_tokens, self.max_output_tokens):
            if isinstance(limit, int) and limit >= 0:
                return limit
            if isinstance(limit, str) and limit.isdecimal() and len(limit) <= MAX_DIGITS:
                return int(limit)  # engines take it as a number
        return None


_json = msgspec.json.Decoder(Envelope)


def read_json(body: bytes) -> Envelope:
    """Read the envelope of a JSON body.

    Raises:
        EnvelopeError: the body is no JSON object, or a field has the wrong type.
    """
    try:
        return _json.decode(body)
    except msgspec.ValidationError as error:
        raise EnvelopeError(f"the request body does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvelopeError(f"the request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise EnvelopeError("the request body's JSON is nested too deeply") from error


def with_cache_salt(body: bytes, salt: str, given: str | None) -> bytes:
    """Return a JSON body with a `cache_salt` added at its end.

    Where the body has one already, the last of equal names counts, in engines as here.

    Args:
        body: a JSON object with at least one field.
        salt: the tenant's salt: letters, digits and `._-`.
        given: the client's own salt, which is appended to the tenant's; None: there is none.
    """
    both = f"{salt}:{given}" if given else salt
    return b'%s,"cache_salt":%s}' % (body.rstrip()[:-1], msgspec.json.encode(both))


def read_multipart(body: bytes, content_type: bytes) -> Envelope:
    """Read the envelope of a multipart form: only its `model` field.

    Raises:
        EnvelopeError: the form is not well-formed, or its `model` field is too long or not UTF-8.
    """
    header = Message()
    header["content-type"] = content_type.decode("latin-1")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise EnvelopeError("the multipart content-type names no boundary")
    reader = _ModelField()
    try:
        parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": reader.part_begin,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
                "on_part_data": reader.data,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise EnvelopeError(f"the request body is not a multipart form: {error}") from error
    model = bytes(reader.model)
    try:
        return Envelope(model=model.decode() if reader.found else None)
    except UnicodeDecodeError as error:
        raise EnvelopeError("the model field is not UTF-8") from error


class _ModelField:
    """Collects the value of the form field called `model`."""

    def __init__(self) -> None:
        self.model = bytearray()
        self.found = False
        self._name = b""
        self._value = b""
        self._inside = False

    def part_begin(self) -> None:
        self._inside = False

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            header = Message()
            header["content-disposition"] = self._value.decode("latin-1")
            field_name = header.get_param("name", header="content-disposition")
            is_file = header.get_param("filename", header="content-disposition") is not None
            if field_name == "model" and not is_file:
                self._inside = self.found = True
        self._name = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.model += data[start:end]
            if len(self.model) > MAX_MODEL_FIELD:
                raise EnvelopeError(f"the model field has over {MAX_MODEL_FIELD} bytes")
