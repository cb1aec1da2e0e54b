"""Parses one client's bytes into requests, within the limits on heads and bodies."""

from collections import deque
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from cluster.spec.gateway_spec import GatewaySpec
from router.http.wire.request.body_pieces import BodyPieces
from router.http.wire.request.chunk_sizes import ChunkSizes
from router.http.wire.request.content_coding import ACCEPTED, BodyDecoder, ContentCodingError, understood
from router.http.wire.request.incoming import EncodedRequest, IncomingRequest, RefusedRequest
from router.http.wire.request.phase import Phase
from router.http.wire.request.repeated_request import RepeatedRequests
from router.http.wire.request.request_headers import READ, DoubledHeaderError, joined
from router.http.wire.request.target import USUAL, TargetError, read_target
from router.http.wire.request.websocket import take_key
from router.outcome import Outcome

REALTIME: Final = frozenset({b"/v1/realtime", b"/openai/v1/realtime", b"/openai/realtime"})
"""The paths that can become a WebSocket. Everywhere else a wish to change the protocol is ignored."""
_NO_TUNNEL: Final = "this server is no proxy: CONNECT is not understood"
MAX_HEADER_LINES: Final = 256
"""Lines of a head and of a body's trailer above which a request is refused: each costs time, however short it is."""
_OVERFLOW: Final = "Chunk size overflow"
"""The parser's word for a chunk of over 2^64 bytes."""

_CLOSED: Final = HttpRequestParser(object())
"""The parser of a connection that is closed; it tells nobody what it parses."""


class _EnoughError(Exception):
    """Stops the parser within a read, as the request has been refused."""


_IDLE, _HEAD, _BODY = Phase  # as globals, because looking up an enum's member costs several times as much


class RequestParser:
    """Parses one client's requests; httptools calls the `on_…` methods.

    After a refusal nothing more may be fed: where the next request begins is not known.

    Args:
        spec: the limits.
        read_headers: names of the headers that are kept.

    Attributes:
        queue: requests and refusals in their order; whoever answers them takes them out.
        phase: what comes next.
        quiet_ticks: the gateway's timer ticks since a request began, or since its body last brought enough; the gateway
            counts them.
        body: what has come of the body.
        is_cut: a request is answered by its head alone, and what follows is of no use.
        wants_continue: the client waits for `100 Continue` before it sends its body.
        after_upgrade: what came after a request that asks for a WebSocket; None: there was no such request.
    """

    __slots__ = (
        "_begun",
        "_encoding",
        "_head_tail",
        "_headers",
        "_is_first",
        "_lines",
        "_parser",
        "_read_headers",
        "_refused",
        "_repeated",
        "_sizes",
        "_spec",
        "_unread_bytes",
        "_url",
        "after_upgrade",
        "body",
        "is_cut",
        "phase",
        "queue",
        "quiet_ticks",
        "wants_continue",
    )

    def __init__(self, spec: GatewaySpec, read_headers: frozenset[bytes] = READ) -> None:
        self._spec = spec
        self._read_headers = read_headers
        self._parser = HttpRequestParser(self)
        self._refused = False
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._unread_bytes = 0  # of the head; and of the framing since the last piece of the body
        self._head_tail = b""
        self._is_first = False  # of the requests that began in one read
        self._lines = 0
        self._begun: IncomingRequest | None = None  # the request whose body is not complete
        self._encoding = ""
        self._sizes: ChunkSizes | None = None
        self._repeated = RepeatedRequests()
        self.queue: deque[IncomingRequest | EncodedRequest | RefusedRequest] = deque()
        self.phase = _IDLE
        self.quiet_ticks = 0
        self.body = BodyPieces()
        self.is_cut = False
        self.wants_continue = False
        self.after_upgrade: bytes | None = None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers read of the request that is coming in, or of the last one."""
        return self._headers

    def feed(self, data: bytes) -> None:
        """Parse the next bytes; what is complete is in `queue` afterwards."""
        is_new = self.phase is _IDLE
        if is_new and (request := self._repeated.request_in(data, self._spec.max_body_bytes)) is not None:
            self.quiet_ticks = 0
            self._headers = request.headers
            self.queue.append(request)
            return
        self._unread_bytes += len(data)
        self._is_first = True
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._go_on_after(data, upgrade.args[0])
        except HttpParserError as error:
            self._refuse_unreadable(error)
        if self.phase is not _IDLE:
            self._check_unfinished(data)
        else:
            self._repeated.parsed(data, self.queue, is_whole=is_new)

    def close(self) -> None:
        """Drop what has not been answered, as the connection is closed; nothing more may be fed.

        The parser and this object hold each other, and only a search for cycles would free them.
        """
        self.queue.clear()
        self._parser = _CLOSED

    def _check_unfinished(self, data: bytes) -> None:
        """Check the limits on what came of a request that is not complete."""
        if self._unread_bytes > self._spec.max_header_bytes:
            self._refuse_long_head()
        if self.phase is _HEAD:
            self._head_tail = (self._head_tail + data)[-3:]
        elif self._sizes is not None and self.body.size + self._sizes.to_come(data) > self._spec.max_body_bytes:
            self._refuse_long_body()
        self.body.compact()

    # --- what httptools calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.phase = _HEAD
        self.quiet_ticks = 0
        self._head_tail = b""
        self._url = b""
        self._headers = {}
        self._lines = 0
        self._begun = None
        self.body.begin()

    def on_url(self, url: bytes) -> None:
        """Add a piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header if the gateway reads it. A trailer, which comes after the body, is no header."""
        self._lines += 1
        if self._lines > MAX_HEADER_LINES:
            self.refuse(Outcome.HEADER_TOO_LARGE, f"the request has over {MAX_HEADER_LINES} header lines")
            raise _EnoughError
        name = name.lower()
        if name in self._read_headers and self.phase is _HEAD:
            if name in self._headers:
                try:
                    value = joined(name, self._headers[name], value)
                except DoubledHeaderError as error:
                    self.refuse(Outcome.BAD_REQUEST, str(error))
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Check the head, so that a body that cannot be taken is refused before it comes."""
        if self._refused:
            return
        headers = self._headers
        self.phase = _BODY
        if self._unread_bytes > self._spec.max_header_bytes and not self._head_fits():
            self._refuse_long_head()
            return
        length = headers.get(b"content-length")
        if length is None:
            if b"transfer-encoding" in headers:
                self._begin_chunked(headers[b"transfer-encoding"])
        elif int(length) > self._spec.max_body_bytes:
            self._refuse_long_body()
            return
        if b"content-encoding" in headers:
            self._read_coding(headers[b"content-encoding"])
        if b"expect" in headers:
            self._read_expectation(headers[b"expect"])

    def _begin_chunked(self, encoding: bytes) -> None:
        if encoding.lower() != b"chunked":
            said = encoding.decode("latin-1")[:80]
            self.refuse(Outcome.BAD_REQUEST, f"transfer-encoding {said!r} is not understood; send chunked or none")
        elif self._parser.get_http_version() != "1.1":  # RFC 9112, section 6.1: the framing is faulty
            self.refuse(Outcome.BAD_REQUEST, "transfer-encoding needs HTTP/1.1")
        elif self._is_first:
            self._sizes = ChunkSizes(self._head_tail)

    def _read_coding(self, value: bytes) -> None:
        try:
            self._encoding = understood(value)
        except ContentCodingError as error:
            self.refuse(Outcome.UNSUPPORTED_ENCODING, str(error), ACCEPTED)

    def _read_expectation(self, expect: bytes) -> None:
        if self._parser.get_http_version() != "1.1":
            return  # RFC 9110, section 10.1.1: an older client cannot mean it
        if expect.lower() != b"100-continue":
            self.refuse(Outcome.EXPECTATION_FAILED, "only the expectation 100-continue is understood")
        else:
            self.wants_continue = True

    def _head_fits(self) -> bool:
        """Tell whether the head is within its limit; the bytes counted may include a body or other requests."""
        kept = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())
        return kept <= self._spec.max_header_bytes

    def on_body(self, data: bytes) -> None:
        """Add a piece of the body, given without its framing."""
        if self._refused:
            return
        self._unread_bytes = 0
        body = self.body
        body.size += len(data)
        if body.size > self._spec.max_body_bytes:
            self._refuse_long_body()
        else:
            body.pieces.append(data)

    def on_message_complete(self) -> None:
        """Put the complete request in the queue."""
        self._unread_bytes = 0
        self._is_first = False
        if self._refused:
            return
        headers = self._headers
        parser = self._parser
        if b"upgrade" in headers and parser.should_upgrade():
            return  # the parser takes no body from such a request: `_go_on_after` does
        self.phase = _IDLE
        request, self._begun = self._begun, None
        if request is None:
            request = self._request()
        if request is None:
            return
        request.body = self.body.take()
        if self._encoding or self._sizes is not None or self.wants_continue:
            self._end_unusual(request)
        else:
            self.queue.append(request)

    # --- requests

    def take_begun(self) -> IncomingRequest | None:
        """Return the request whose head has come and whose body has not, once; None: there is none, or it is refused.

        It has no body yet.
        """
        if self.phase is not _BODY or self._begun is not None or self._refused:
            return None
        self._begun = self._request()
        return self._begun

    def answer_by_head(self, request: IncomingRequest) -> None:
        """Queue the request that `take_begun` returned: its answer does not depend on its body, which is dropped."""
        self._refused = self.is_cut = True
        self.body.drop()
        self.wants_continue = False
        request.keep_alive = False
        self.queue.append(request)

    def _request(self) -> IncomingRequest | None:
        """Return the request whose head is complete, without its body; None: it was refused."""
        url, headers, parser = self._url, self._headers, self._parser
        method = parser.get_method()
        version = parser.get_http_version()
        if version == "2.0":
            self.refuse(Outcome.BAD_REQUEST, "this server speaks HTTP/1.1, and no HTTP/2 under that name")
            return None
        if method == b"CONNECT":
            self.refuse(Outcome.BAD_REQUEST, _NO_TUNNEL)
            return None
        if version == "1.1" and b"host" not in headers:
            self.refuse(Outcome.BAD_REQUEST, "the host header is missing")
            return None
        if url in USUAL:
            path, query = url, b""
        else:
            try:
                target = read_target(url)
            except TargetError as error:
                self.refuse(Outcome.BAD_REQUEST, str(error))
                return None
            path, query, url = target.path, target.query, target.url
        return IncomingRequest(method, url, path, query, headers, b"", parser.should_keep_alive(), version != "1.1")

    def _end_unusual(self, request: IncomingRequest) -> None:
        """Queue a request that came compressed, chunked, or announced by an expectation."""
        self._sizes = None
        self.wants_continue = False
        encoding, self._encoding = self._encoding, ""
        if encoding and request.body:
            decoder = BodyDecoder(request.body, encoding, self._spec.max_body_bytes)
            request.body = b""
            self.queue.append(EncodedRequest(request, decoder))
        else:
            self.queue.append(request)

    def _go_on_after(self, data: bytes, position: int) -> None:
        """Read on after a request that asks for another protocol; the parser stopped at the end of its head.

        Such a wish may be ignored (RFC 9110, section 7.8), and the request is then as any other: the parser is given
        its head again, without the wish, and takes its body.
        """
        rest = memoryview(data)[position:]
        while not self._refused:
            parser, headers = self._parser, self._headers
            if b"upgrade" not in headers:  # nothing to leave out: the parser would stop there again, for ever
                self.refuse(Outcome.BAD_REQUEST, _NO_TUNNEL)
                return
            if headers.get(b"upgrade", b"").lower() == b"websocket" and self._asks_for_websocket(bytes(rest)):
                return
            keep_alive = parser.should_keep_alive()
            head = [b"%s %s HTTP/%s\r\n" % (parser.get_method(), self._url, parser.get_http_version().encode())]
            head += [b"%s: %s\r\n" % item for item in headers.items() if item[0] != b"upgrade"]
            head.append(b"connection: keep-alive\r\n\r\n" if keep_alive else b"connection: close\r\n\r\n")
            if not keep_alive:  # this parser takes nothing after such a request
                parser = self._parser = HttpRequestParser(self)
            try:
                parser.feed_data(b"".join(head))
                parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except HttpParserError as error:
                self._refuse_unreadable(error)
            else:
                return

    def _asks_for_websocket(self, rest: bytes) -> bool:
        """Queue a request for a WebSocket; return False if it is none that can be served."""
        headers = self._headers
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        if self._parser.get_method() != b"GET" or has_body:
            return False
        request = self._request()
        if request is None:
            return True
        if request.path not in REALTIME:
            return False
        self.phase = _IDLE
        take_key(headers)
        request.upgrades = True
        request.keep_alive = False  # what follows is no HTTP, or comes after an answer that refuses the WebSocket
        self.after_upgrade = rest
        self.queue.append(request)
        return True

    # --- refusals

    def refuse(self, outcome: Outcome, message: str, headers: bytes = b"") -> None:
        """Put a refusal in the queue, unless there is one."""
        if not self._refused:
            self._refused = True
            self.body.drop()
            head_only = self._parser.get_method() == b"HEAD"
            self.queue.append(RefusedRequest(outcome, message, self._path(), headers, head_only))

    def _path(self) -> bytes:
        """Return the path as far as it came, in normal form if it has one: it says whose shape an error has."""
        try:
            return read_target(self._url).path
        except TargetError:
            return self._url.partition(b"?")[0]

    def _refuse_unreadable(self, error: HttpParserError) -> None:
        if str(error) == _OVERFLOW:
            self._refuse_long_body()
        else:
            self.refuse(Outcome.BAD_REQUEST, f"this is not an HTTP/1.1 request: {error}")

    def _refuse_long_head(self) -> None:
        self.refuse(Outcome.HEADER_TOO_LARGE, f"the request head has over {self._spec.max_header_bytes} bytes")

    def _refuse_long_body(self) -> None:
        self.refuse(Outcome.BODY_TOO_LARGE, f"the request body has over {self._spec.max_body_bytes} bytes")
