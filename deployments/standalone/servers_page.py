"""The operators' page `/servers`: lists the servers, adds some and takes some away, while the gateway runs."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from cluster.errors import SpecError
from cluster.spec.parts.server_url import server_url
from cluster.spec.servers_file import SERVERS_FILE
from deployments.standalone.rate_probe.prober import FoundRates
from deployments.standalone.server import Server
from deployments.standalone.server_list import ServerList
from router.http.api.errors import error_body
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome

PATH = b"/servers"
_HOW = "POST a server as in a servers file, {url: …}, or DELETE /servers?url=…"


class ServersPage:
    """Answers requests for `/servers`.

    Args:
        listed: the servers as they are configured.
        known: returns what is known of each.
        rates: returns what probes found of the server of a name; None: nothing.
        changed: called after a change.
    """

    def __init__(
        self,
        listed: ServerList,
        known: Callable[[], Sequence[Server]],
        rates: Callable[[str], FoundRates | None],
        changed: Callable[[], None],
    ) -> None:
        self._rates = rates
        self._list = listed
        self._known = known
        self._changed = changed

    def __call__(self, incoming: IncomingRequest) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        match incoming.method:
            case b"GET" | b"HEAD":
                return HTTPStatus.OK, msgspec.json.encode(self._shown())
            case b"POST":
                return self._add(incoming)
            case b"DELETE":
                return self._take_away(incoming)
        return HTTPStatus.METHOD_NOT_ALLOWED, error_body(Outcome.METHOD_NOT_ALLOWED, _HOW)

    def _shown(self) -> dict[str, Any]:
        file = self._list.file
        return {
            "servers": [
                {
                    "name": server.address.name,
                    "url": f"http{'s' * server.address.access.uses_tls}://{server.address.name}",
                    "presence": str(server.presence),
                    "models": list(server.models),
                    "max_requests": server.address.max_requests or None,
                    "rates": self._rates(server.address.name),
                }
                for server in self._known()
            ],
            "file": str(file.file) if file is not None else None,
            "problem": file.problem if file is not None else "",
        }

    def _add(self, incoming: IncomingRequest) -> tuple[int, bytes]:
        try:
            asked = msgspec.json.decode(incoming.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _refused(f"the body is no JSON: {error}; {_HOW}")
        try:
            (spec,) = SERVERS_FILE.from_data({"servers": [asked]}, "the request").servers
            address, is_new = self._list.add(spec)
        except (SpecError, ValueError) as error:
            return _refused(str(error))
        self._changed()
        return (HTTPStatus.CREATED if is_new else HTTPStatus.OK), msgspec.json.encode({"name": address.name})

    def _take_away(self, incoming: IncomingRequest) -> tuple[int, bytes]:
        asked = unquote(incoming.path[len(PATH) + 1 :].decode("ascii"))
        if not asked:
            asked = parse_qs(incoming.query.decode("ascii")).get("url", [""])[0]
        try:
            name = server_url(asked).name
        except ValueError as error:
            return _refused(f"{error}; {_HOW}")
        if not self._list.take_away(name):
            known = ", ".join(self._list.configured()) or "none"
            message = f"there is no server {name}; there are: {known}"
            return HTTPStatus.NOT_FOUND, error_body(Outcome.NOT_FOUND, message)
        self._changed()
        return HTTPStatus.OK, msgspec.json.encode({"name": name})


def _refused(message: str) -> tuple[int, bytes]:
    return HTTPStatus.BAD_REQUEST, error_body(Outcome.BAD_REQUEST, message)
