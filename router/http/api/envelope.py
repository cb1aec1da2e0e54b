"""The few fields of a request body that the gateway needs; the body itself is forwarded as it came."""

from email.message import Message
from typing import Any

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

MAX_MODEL_FIELD = 512
"""Bytes above which a multipart `model` field is an error; names have at most 128 characters."""


class EnvelopeError(Exception):
    """The request body cannot be read; the message is for the client."""


class Envelope(msgspec.Struct, gc=False):
    """The fields that the gateway reads of a body. All others are skipped; the engine checks them."""

    model: str | None = None
    stream: bool | None = None
    cache_salt: str | None = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    stream_options: Any = None

    @property
    def answer_tokens(self) -> int | None:
        """The request's own limit of its answer's tokens, from the first of three fields that sets one; else None."""
        for limit in (self.max_completion_tokens, self.max_tokens, self.max_output_tokens):
            if isinstance(limit, int) and limit >= 0:
                return limit
        return None

    @property
    def includes_usage(self) -> bool:
        """Whether the stream's last event is to hold the usage."""
        return self._option("include_usage")

    @property
    def tells_usage(self) -> bool:
        """Whether every event of the stream is to hold the usage; vLLM does so where the last one holds it too."""
        return self._option("include_usage") and self._option("continuous_usage_stats")

    def _option(self, name: str) -> bool:
        return isinstance(self.stream_options, dict) and bool(self.stream_options.get(name))


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
