"""What a server is, is told by its own word."""

import json

import pytest

from deployments.standalone.server import Server
from deployments.standalone.server_address import ServerAddress
from router.replicas.model_card import announced_in


@pytest.mark.parametrize(
    ("card", "right"),
    [
        ({"id": "m", "owned_by": "vllm"}, True),
        ({"id": "adapter", "owned_by": "vllm", "parent": "m"}, True),
        ({"id": "m", "owned_by": "llamacpp"}, False),
        ({"id": "vllm", "owned_by": None}, False),
        ({"id": "m"}, False),
    ],
)
def test_only_vllm_is_known_to_continue_messages(card: dict[str, object], right: bool) -> None:  # noqa: FBT001 - parametrized
    """Any other server, known or not, is not asked to go on with another's text."""
    server = Server(ServerAddress("127.0.0.1", 1), models=announced_in(json.dumps([card]).encode()).models)
    server.lives(0.0)
    assert [endpoint.continues_messages for endpoint in server.endpoints(0.0)] == [right]
