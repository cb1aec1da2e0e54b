"""Reads the `model` field of a multipart form, and refuses forms that an engine could read differently.

Frameworks differ about forms that are not plain: Starlette takes the last of two fields, ignores `filename*` (RFC 7578,
section 4.2, forbids it), and decodes by the content-type's charset. A form that says one model here and another in the
engine would get past the check of what its key may use.
"""

import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from router.http.api.envelope import Envelope, EnvelopeError
from router.replicas.model_card import MAX_NAME

MAX_MODEL_FIELD = 4 * MAX_NAME
"""Bytes above which a form's `model` field is an error: those of the longest name."""
MAX_PARTS = 1000
"""Parts above which a form is refused; Starlette's own bound of fields."""
_READ_BYTES = 64 * 1024
"""Bytes of a part that are read: its headers, of which the parser takes 32 KiB at most, and a `model` field."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - HTTP's word for a plain name (RFC 9110, 5.6.2)
_PARAMETER = rf'\s*;\s*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s";]+)'
_PARAMETERS = re.compile(_PARAMETER)
_WHOLE = re.compile(rf"{_TOKEN}(?:/{_TOKEN})?((?:{_PARAMETER})*)")
"""A header's value, without space around it: two runs of space side by side would take a square of their length."""
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Control characters but the tab, which is a space."""
_PLAIN_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})


def read_form(body: bytes, content_type: bytes) -> Envelope:
    """Read the envelope of a multipart form: only its `model` field.

    Raises:
        EnvelopeError: the form is broken, or not plain, or its `model` field is too long or not UTF-8.
    """
    boundary = boundary_of(content_type)
    reader = _ModelField()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.part_begin,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
                "on_headers_finished": reader.headers_finished,
                "on_part_data": reader.data,
                "on_end": reader.end,
            },
        )
        _write(parser, body, b"\r\n--" + boundary)
        parser.finalize()
    except FormParserError as error:
        raise EnvelopeError(f"the request body is not a multipart form: {error}") from error
    if not reader.is_whole:
        raise EnvelopeError("the multipart form has no end: its closing boundary is missing")
    try:
        return Envelope(model=bytes(reader.model).decode() if reader.found else None)
    except UnicodeDecodeError as error:
        raise EnvelopeError("the form's model field is not UTF-8") from error


def _write(parser: MultipartParser, body: bytes, delimiter: bytes) -> None:
    """Give a form to the parser, but for the inside of long parts.

    The parser itself looks byte by byte at what only begins like a delimiter.

    Raises:
        EnvelopeError: there are too many parts, or a line that begins with the boundary goes on after it.
    """
    parts = 1
    start, found = 0, body.find(delimiter)
    while found >= 0:
        after = found + len(delimiter)
        if body[after : after + 2] not in (b"\r\n", b"--"):
            raise EnvelopeError("a line of the form begins with its boundary and goes on after it")
        parser.write(body[start : min(found, start + _READ_BYTES)])
        start = found
        if body[after : after + 2] == b"--":
            break
        parts += 1
        if parts > MAX_PARTS:
            raise EnvelopeError(f"the form has over {MAX_PARTS} parts")
        found = body.find(delimiter, after)
    parser.write(body[start : start + _READ_BYTES])


def with_model_field(body: bytes, content_type: bytes, model: str) -> bytes | None:
    """Return a form with a `model` field put before its first part; None: the form does not begin with its boundary."""
    delimiter = b"--" + boundary_of(content_type)
    if not body.startswith(delimiter):
        return None
    return b'%s\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n%s' % (delimiter, model.encode(), body)


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that a form's content-type names.

    Raises:
        EnvelopeError: it names none or several, or a charset other than UTF-8.
    """
    parameters = _parameters_of(content_type, "content-type")
    boundaries = [value for name, value in parameters if name == "boundary"]
    is_odd = any(name.startswith("boundary*") for name, _ in parameters) or any("\\" in value for value in boundaries)
    if len(boundaries) != 1 or not boundaries[0] or is_odd:
        raise EnvelopeError("the multipart content-type must name one boundary")
    _check_charset(parameters)
    return boundaries[0].encode("latin-1")


def _parameters_of(value: bytes, header: str) -> list[tuple[str, str]]:
    """Return the parameters of a header's value, in order: names in lower case, values without quotes, else as sent."""
    whole = _WHOLE.fullmatch(value.decode("latin-1").strip(" \t").removesuffix(";").rstrip(" \t"))
    if whole is None or _CONTROLS.search(value):  # what a parser makes of them is its own
        raise EnvelopeError(f"the form's {header} {value[:80]!r} is malformed")
    found = _PARAMETERS.findall(whole[1])
    return [(name.lower(), text[1:-1] if text[0] == '"' else text) for name, text in found]


def _check_charset(parameters: list[tuple[str, str]]) -> None:
    charsets = [value.lower() for name, value in parameters if name.startswith("charset")]
    if any(charset not in _PLAIN_CHARSETS for charset in charsets):
        raise EnvelopeError(f"the form's charset {charsets[0][:40]!r} is not understood: send UTF-8")


class _ModelField:
    """Collects the value of the form field called `model`.

    Attributes:
        model: its value so far.
        found: there is one.
        is_whole: the form's closing boundary has come.
    """

    def __init__(self) -> None:
        self.model = bytearray()
        self.found = False
        self.is_whole = False
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._inside = False
        self._parts = 0

    def part_begin(self) -> None:
        self._inside = False
        self._headers = {}
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise EnvelopeError(f"the form has over {MAX_PARTS} parts")

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        name = self._name.lower()
        if name in self._headers:
            raise EnvelopeError(f"a part of the form has two {name.decode('latin-1')[:40]} headers")
        self._headers[name] = self._value
        self._name = self._value = b""

    def headers_finished(self) -> None:
        """Tell whether the part is the model's field, now that its headers are complete.

        Raises:
            EnvelopeError: the part has no one name, or it is the model's field and not a plain one.
        """
        parameters = _parameters_of(self._headers.get(b"content-disposition", b""), "content-disposition")
        names = [value for name, value in parameters if name.partition("*")[0] == "name"]
        if len(names) != 1 or ("name", names[0]) not in parameters or "\\" in names[0]:  # a `\` is read in two ways
            raise EnvelopeError("each part of the form must have one name")
        if names[0].strip().lower() != "model":
            return
        if self.found:
            raise EnvelopeError("the form has two model fields; there must be one")
        kind = self._headers.get(b"content-type", b"text/plain")
        encoding = self._headers.get(b"content-transfer-encoding", b"8bit").strip().lower().decode("latin-1")
        is_text = kind.partition(b";")[0].strip().lower() == b"text/plain"
        if names[0] != "model" or len(parameters) > 1 or not is_text or encoding not in _PLAIN_ENCODINGS:
            raise EnvelopeError('the form\'s model field must be plain: Content-Disposition: form-data; name="model"')
        _check_charset(_parameters_of(kind, "content-type"))
        self._inside = self.found = True

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.model += data[start:end]
            if len(self.model) > MAX_MODEL_FIELD:
                raise EnvelopeError(f"the form's model field has over {MAX_MODEL_FIELD} bytes")

    def end(self) -> None:
        self.is_whole = True
