"""Remembers which replica holds a stored response, and whose it is."""

from collections import OrderedDict
from dataclasses import dataclass

from router.http.api.response_id import MAX_LOOKED_AT, id_in

MAX_RESPONSES = 32_768
"""Most responses remembered, about 10 MB. The gateway finds the others by asking the replicas."""


@dataclass(frozen=True, slots=True)
class ResponseOwner:
    """Where a response is, and whose.

    Attributes:
        model: the model that made it.
        replica_id: the replica that made it, which alone knows it.
        tenant: name of the tenant that asked for it.
    """

    model: str
    replica_id: str
    tenant: str


class ResponseOwners:
    """The owners of the responses last made or asked for, by the response's id."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, ResponseOwner] = OrderedDict()

    def __len__(self) -> int:
        return len(self._owners)

    def note(self, response_id: str, owner: ResponseOwner) -> None:
        """Remember a response; the one not asked for the longest is forgotten where there are too many."""
        self._owners[response_id] = owner
        self._owners.move_to_end(response_id)
        if len(self._owners) > MAX_RESPONSES:
            self._owners.popitem(last=False)

    def note_answer(self, beginning: bytes, owner: ResponseOwner) -> bool:
        """Remember the response whose answer begins so; return False where more of the answer must be seen for that."""
        response_id = id_in(beginning)
        if response_id is not None:
            self.note(response_id, owner)
        return response_id is not None or len(beginning) > MAX_LOOKED_AT

    def find(self, response_id: str) -> ResponseOwner | None:
        """Return a response's owner; None: it is not remembered."""
        owner = self._owners.get(response_id)
        if owner is not None:
            self._owners.move_to_end(response_id)
        return owner
