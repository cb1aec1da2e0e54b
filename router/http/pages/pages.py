"""The pages that everybody who reaches the apps' port may see: no tenants, and no models where keys are asked for."""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

import msgspec

from router.http.access_control.auth import ANONYMOUS
from router.http.api.paths import why_not_found
from router.http.connection.client import Client
from router.http.data_plane.answers import Answers
from router.http.data_plane.data_plane import DataPlane
from router.http.pages.landing_page import landing_page
from router.http.pages.readiness import Readiness
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.request.target import ANY
from router.outcome import Outcome

READ_ONLY = (b"GET", b"HEAD")
"""Methods that pages answer."""
JSON = b"application/json"
HEALTHY = (200, JSON, b'{"status":"ok"}')
"""What /health answers: the process runs and reads requests."""
_ALLOWED_SOMEWHERE = b"allow: GET, HEAD, POST, DELETE, OPTIONS\r\n"
"""What `OPTIONS *`, which asks about the server as a whole, is answered (RFC 9110, section 9.3.7)."""
_FOR_OPERATORS = (b"/metrics", b"/state", b"/why")

Page = Callable[[IncomingRequest], tuple[int, bytes, bytes]]
"""Returns status, content type and body."""


class Pages:
    """Answers the pages of the apps' port, and refuses all other paths.

    Args:
        plane: the gateway's shared state.
        readiness: returns whether requests can be served.
    """

    def __init__(self, plane: DataPlane, readiness: Callable[[], Readiness]) -> None:
        self._plane = plane
        self._answers = Answers(plane)
        self._readiness = readiness
        version_body = msgspec.json.encode({"version": _version(), "server": "rackserve"})
        self._pages: Mapping[bytes, Page] = {
            b"/": self._landing,
            b"/docs": self._landing,
            b"/health": lambda _: HEALTHY,
            b"/ping": lambda _: HEALTHY,  # SageMaker's name for it
            b"/ready": self._ready,
            b"/version": lambda _: (200, JSON, version_body),
            b"/favicon.ico": lambda _: (404, b"text/plain", b""),  # browsers ask by themselves: no refusal to count
        }

    def handle(self, client: Client, incoming: IncomingRequest) -> None:
        """Answer a request for a page, or refuse it if there is no such page."""
        page = self._pages.get(incoming.path)
        if incoming.path == ANY and incoming.method == b"OPTIONS":
            self._answers.answer(client, incoming, 200, b"", headers=_ALLOWED_SOMEWHERE)
        elif page is None:
            self._answers.refuse(client, incoming, Outcome.NOT_FOUND, _not_here(incoming.path))
        else:
            answer_page(self._answers, client, incoming, page)

    def _ready(self, incoming: IncomingRequest) -> tuple[int, bytes, bytes]:
        del incoming
        is_ready = self._readiness().is_ready
        return (200 if is_ready else 503), JSON, b'{"ready":true}' if is_ready else b'{"ready":false}'

    def _landing(self, incoming: IncomingRequest) -> tuple[int, bytes, bytes]:
        plane = self._plane
        is_open = plane.authenticator.tenant(b"", b"") is ANONYMOUS
        scheme = "http" if plane.spec.tls is None else "https"
        host = incoming.headers.get(b"host", b"").decode("latin-1")
        return landing_page(
            f"{scheme}://{host}",
            sorted(plane.models.flows) if is_open else None,
            as_html=b"text/html" in incoming.headers.get(b"accept", b""),
        )


def answer_page(answers: Answers, client: Client, incoming: IncomingRequest, page: Page) -> None:
    """Answer a request with a page, or say that pages are read-only."""
    allow = b"allow: GET, HEAD, OPTIONS\r\n"
    if incoming.method == b"OPTIONS":
        answers.answer(client, incoming, 200, b"", headers=allow)
    elif incoming.method not in READ_ONLY:
        message = "only GET and HEAD are answered here"
        answers.refuse(client, incoming, Outcome.METHOD_NOT_ALLOWED, message, headers=allow)
    else:
        status, content_type, body = page(incoming)
        answers.answer(client, incoming, status, body, content_type=content_type)


def _not_here(path: bytes) -> str:
    if path in _FOR_OPERATORS or path.startswith(b"/why/"):
        return f"{path[:200].decode('ascii', 'replace')!r} is for operators: ask the gateway's admin port"
    return why_not_found(path)


def _version() -> str:
    try:
        return version("rackserve")
    except PackageNotFoundError:
        return "unknown"
