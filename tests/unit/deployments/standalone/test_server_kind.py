"""What a server is, is told by its own word."""

import json

import pytest

from deployments.standalone.server import Server
from deployments.standalone.server_address import ServerAddress
from deployments.standalone.server_kind import model_to_probe
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


@pytest.mark.parametrize(
    ("cards", "model"),
    [
        ([{"id": "m"}], "m"),
        ([{"id": "m", "root": "/w"}, {"id": "alias", "root": "/w"}, {"id": "lora", "root": "/l", "parent": "m"}], "m"),
        ([{"id": "llama3"}, {"id": "qwen"}], None),
        ([{"id": "m", "root": "/w"}, {"id": "n", "root": "/v"}], None),
        ([{"id": "lora", "parent": "m"}], None),
        ([], None),
    ],
)
def test_only_a_server_of_one_model_is_probed(cards: list[dict[str, object]], model: str | None) -> None:
    """Adapters and aliases are the same model; a server of several may have to load the one that is asked for."""
    assert model_to_probe(announced_in(json.dumps(cards).encode()).models) == model
