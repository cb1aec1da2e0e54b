"""What a server is, is told by its own word."""

import pytest

from deployments.gateway.server_kind import continues_messages


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
    assert continues_messages(card) is right
