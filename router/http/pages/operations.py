"""Calls by which operators change a running gateway, on the operators' port."""

from collections.abc import Callable, Mapping

from router.http.connection.client import Client
from router.http.data_plane.answers import Answers
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome

Operation = Callable[[IncomingRequest], tuple[int, bytes]]
"""Does what a request asks for, and returns status and JSON body."""


class Operations:
    """Finds and runs the operation at a path.

    Args:
        operations: the operations, each by its path; what follows the path after a slash is the operation's to read.
        answers: writes the answers.
    """

    def __init__(self, operations: Mapping[bytes, Operation], answers: Answers) -> None:
        self._operations = operations
        self._answers = answers

    def at(self, incoming: IncomingRequest) -> Operation | None:
        """Return the operation at a request's path; None: there is none."""
        path, _, _ = incoming.path[1:].partition(b"/")
        return self._operations.get(b"/" + path)

    def handle(self, client: Client, incoming: IncomingRequest) -> bool:
        """Answer a request for an operation; return False where there is none at its path."""
        operation = self.at(incoming)
        if operation is None:
            return False
        if b"origin" in incoming.headers:
            # Browsers say which page a call is from: none may use an operator's browser to change the gateway.
            self._answers.refuse(client, incoming, Outcome.BAD_REQUEST, "web pages may not call this")
            return True
        status, body = operation(incoming)
        self._answers.answer(client, incoming, status, body)
        return True
