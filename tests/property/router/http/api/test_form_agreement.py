"""The gateway and Starlette, the framework of the engines, find the same model in a form."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from router.http.api.envelope import EnvelopeError
from router.http.api.form import read_form

KIND = b"multipart/form-data; boundary=XX"
END = b"--XX--\r\n"


def _field(disposition: str, value: str, headers: str = "") -> bytes:
    return f"--XX\r\nContent-Disposition: form-data{disposition}\r\n{headers}\r\n{value}\r\n".encode()


_PARTS = st.lists(
    st.builds(
        _field,
        st.sampled_from(
            [
                '; name="model"',
                "; name=model",
                '; name="x"',
                '; name="x"; name="model"',
                '; name="model"; filename="f"',
                "; name=\"model\"; filename*=utf-8''f",
                "; name*=utf-8''model",
                '; NAME="model"',
                '; name="mod\\el"',
                '; name="model" ; x=y',
            ]
        ),
        st.sampled_from(["m", "other", "", "mé"]),
        st.sampled_from(["", "Content-Type: text/plain\r\n", 'Content-Disposition: form-data; name="model"\r\n']),
    ),
    max_size=4,
)


async def _as_starlette_reads(body: bytes, content_type: bytes) -> Sequence[object] | None:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    headers = Headers(raw=[(b"content-type", content_type)])
    try:
        return (await MultiPartParser(headers, stream()).parse()).getlist("model")
    except MultiPartException:
        return None


@given(_PARTS, st.sampled_from([b"", b"; charset=utf-8", b"; charset=utf-16", b"; boundary=YY"]))
def test_a_form_that_is_read_is_read_as_starlette_does(parts: list[bytes], parameters: bytes) -> None:
    """Whatever is not refused has for the engine's framework the one model that it has here, or none."""
    body = b"".join(parts) + END
    try:
        model = read_form(body, KIND + parameters).model
    except EnvelopeError:
        return
    assert asyncio.run(_as_starlette_reads(body, KIND + parameters)) in ([] if model is None else [model], None)
