"""Model cards: what a server's list of models says, in every shape that servers use."""

import json

import pytest

from router.replicas.model_card import MAX_MODELS, MAX_NAME, ModelCard, agreed, announced_in, may_be_routed


def listing(*rows: object) -> bytes:
    """Return an answer of /v1/models."""
    return json.dumps({"object": "list", "data": rows}).encode()


def test_a_card_has_what_vllm_says() -> None:
    """All fields are taken; a parent names an adapter's base model."""
    row = {
        "id": "lora",
        "created": 1_700_000_000,
        "owned_by": "vllm",
        "root": "/adapters/1",
        "parent": "base",
        "max_model_len": 4096,
        "permission": [{"id": "p"}],
    }
    card = announced_in(listing(row)).models["lora"]
    assert card == ModelCard("/adapters/1", "base", 4096, "vllm")
    assert (card.created, json.loads(card.permission)) == (1_700_000_000, [{"id": "p"}])


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (listing({"id": "a"}, {"id": "b"}), ["a", "b"]),
        (listing(), []),
        (b'{"object":"list","data":null}', []),
        (b'[{"id":"a"}]', ["a"]),
        (listing({"id": "a"}, {"id": "a"}), ["a"]),
        (b'{"models":[{"name":"x"}],"data":[{"id":"a","meta":{"n_ctx":1}}]}', ["a"]),
        (listing({"id": "a", "created": 1.5e9, "root": 3, "max_model_len": "no", "permission": {}}), ["a"]),
    ],
)
def test_lists_of_every_shape_are_read(body: bytes, names: list[str]) -> None:
    """Null where there is no model, the list alone, names twice, fields of other types."""
    assert list(announced_in(body).models) == names


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"data":{}}', b'{"data":[{"name":"a"}]}', b'{"data":["a"]}', b'"a"', b"\xff\xfe"]
)
def test_what_is_no_list_of_models_is_told(body: bytes) -> None:
    """An error names the page, so that an operator sees what the server answers."""
    with pytest.raises(ValueError, match="/v1/models"):
        announced_in(body)


@pytest.mark.parametrize("name", ["a", "/m/x", "模型", "a b", "🦙", "é", "x" * MAX_NAME, "a\u00a0b"])
def test_any_name_without_control_characters_is_taken(name: str) -> None:
    """OpenAI's API takes any text as a model's name."""
    assert may_be_routed(name)


@pytest.mark.parametrize("name", ["a\n", "\x00", "a\x7f", "\x85", "\ud800", "x" * (MAX_NAME + 1)])
def test_names_that_would_break_lines_or_have_no_bound_are_not(name: str) -> None:
    """They are named among the refused, shortened."""
    assert not may_be_routed(name)
    announced = announced_in(listing({"id": name}, {"id": "good"}))
    assert list(announced.models) == ["good"]
    assert announced.refused == (name[:80],)


def test_the_number_of_models_of_a_server_is_bounded() -> None:
    """A server that announces without end costs bounded memory."""
    announced = announced_in(listing(*({"id": f"m{number}"} for number in range(MAX_MODELS + 50))))
    assert len(announced.models) == MAX_MODELS
    assert len(announced.refused) == 10


def test_a_large_permission_is_left_out() -> None:
    """It is kept as it came, so its size is bounded."""
    card = announced_in(listing({"id": "a", "permission": ["x" * 5000]})).models["a"]
    assert card.permission == b"[]"


def test_several_replicas_agree_on_the_shortest_context() -> None:
    """The first card is told, with the least length that any replica takes."""
    cards = [None, ModelCard("r", None, 4096), ModelCard("s", None, 1024), ModelCard("t")]
    assert agreed(cards) == ModelCard("r", None, 1024)
    assert agreed([]) == agreed([None]) == ModelCard()
