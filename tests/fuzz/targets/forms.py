"""Multipart forms: the model that the gateway reads is the one that an engine's form parser reads."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from router.http.api.envelope import EnvelopeError
from router.http.api.form import read_form
from tests.fuzz.target import Target

_TYPE: Final = b"multipart/form-data; boundary=b"


async def _as_engine(body: bytes) -> list[object]:
    """Return every value of the field `model` that an engine's server finds."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(Headers({"content-type": _TYPE.decode()}), stream())
    form = await parser.parse()
    try:
        return list(form.getlist("model"))
    finally:
        await form.close()


def check(data: bytes) -> None:
    """What is accepted has one model at most, and it is the engine's, if the engine takes the form."""
    try:
        envelope = read_form(data, _TYPE)
    except EnvelopeError:
        return
    try:
        engine = asyncio.run(_as_engine(data))
    except (MultiPartException, UnicodeDecodeError, LookupError):
        return
    ours = [] if envelope.model is None else [envelope.model]
    assert ours == engine, (ours, engine)


def _form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


_MODEL: Final = b'content-disposition: form-data; name="model"\r\n\r\nm'
_FILE: Final = (
    b'content-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\nRIFF\r\n--bnot'
)
TARGET: Final = Target(
    check,
    seeds=(
        _form(_MODEL),
        _form(_FILE, _MODEL),
        _form(
            b"content-disposition: form-data; name=model\r\n\r\nm", b'content-disposition: form-data; name="x"\r\n\r\ny'
        ),
        _form(
            b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa9'
        ),
    ),
    words=(
        b"--b",
        b"--b--",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"content-disposition: form-data; ",
        b'name="model"',
        b"name=model",
        b"; name*=UTF-8''model",
        b'; filename="model"',
        b"; filename*=UTF-8''a",
        b'name="mod\\"el"',
        b"content-type: text/plain",
        b"content-transfer-encoding: base64\r\n",
        b"charset=utf-16",
        b";",
        b'"',
        b"=",
        b" ",
        b"\t",
        b"\x00",
        b"\xff",
        b"m",
        b"n",
        b'name="Model"',
        b"Content-Disposition",
        b'; name="model"; name="x"',
        b":",
    ),
)
