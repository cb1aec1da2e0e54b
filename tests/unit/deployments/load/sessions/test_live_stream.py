"""What `--load` says."""

import pytest

from cluster.errors import SpecError
from deployments.load.sessions.live_stream import live_streams


def test_a_kind_begins_with_usual_values_and_other_keys_replace_them() -> None:
    """`kind=agents` has 100 to 500 calls and long shared instructions; what is said beside it counts."""
    (agents,) = live_streams(["kind=agents,at_a_time=2"])
    assert (agents.calls_least, agents.calls_most) == (100, 500)
    assert agents.prefix_tokens >= 4096
    assert agents.at_a_time == 2


def test_all_mistakes_of_all_options_are_told_at_once() -> None:
    """A wrong value, an unknown key, an unknown kind, no key at all, and a contradiction: five problems, one error."""
    with pytest.raises(SpecError) as caught:
        live_streams(["rate=-1", "nothing=1", "kind=none", "10", "calls_most=5,calls_least=9"])
    assert len(caught.value.problems) == 5
    told = str(caught.value)
    for words in ("rate", "nothing", "agents", "is not key=value", "calls_least or more"):
        assert words in told


def test_an_agent_has_calls_and_no_turns() -> None:
    """Two ways of saying how long a conversation is contradict each other."""
    with pytest.raises(SpecError, match="`turns` is for chats"):
        live_streams(["calls_most=200,turns=3"])
