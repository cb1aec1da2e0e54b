"""What an error status says of the replica that answers with it."""

from collections.abc import Mapping
from http import HTTPStatus

from router.dispatch.ticket import Fault

FAULTS: Mapping[int, Fault] = {
    HTTPStatus.INTERNAL_SERVER_ERROR: Fault.ERROR,
    HTTPStatus.BAD_GATEWAY: Fault.ERROR,
    HTTPStatus.GATEWAY_TIMEOUT: Fault.ERROR,
    HTTPStatus.TOO_MANY_REQUESTS: Fault.BUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: Fault.BUSY,
    529: Fault.BUSY,
}
"""The statuses that are about the replica; all others are about the request. 529 is in no RFC: servers of Anthropic's
API use it for "overloaded"."""
