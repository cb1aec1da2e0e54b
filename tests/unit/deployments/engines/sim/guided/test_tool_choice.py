"""Which tools are called, and the calls' texts."""

import json
from itertools import pairwise

import pytest

from deployments.engines.sim.generation.script import CallDelta
from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.tool_choice import Tool, ToolUse, script_of_calls

LOOK, WALK = Tool("look", {"type": "object", "properties": {"at": {"enum": ["sky"]}}, "required": ["at"]}), Tool("walk")
BOTH = (LOOK, WALK)


def test_a_user_decides_which_tools_are_called() -> None:
    """Those that the last message names, in their order, or one that its length draws."""
    assert ToolUse(BOTH).called("first walk, then look", (), 0, after_result=False) == [LOOK, WALK]
    assert ToolUse(BOTH).called("walk!", (), 0, after_result=False) == [WALK]
    assert [ToolUse(BOTH).called("go", (), seed, after_result=False) for seed in (0, 1)] == [[LOOK], [WALK]]
    assert ToolUse(BOTH, several=False).called("look and walk", (), 0, after_result=False) == [LOOK]


def test_choices_are_kept_to() -> None:
    """A named tool, none at all, and text after a tool's result, unless a call is required."""
    assert ToolUse(BOTH, "required", named="walk").called("look", (), 0, after_result=True) == [WALK]
    assert ToolUse(BOTH, "none").called("look", (), 0, after_result=False) == []
    assert ToolUse(BOTH).called("look", (), 0, after_result=True) == []
    assert ToolUse(BOTH, "required").called("look", (), 0, after_result=True) == [LOOK]
    assert ToolUse(()).called("look", (), 0, after_result=False) == []


def test_an_agent_that_must_always_call_gets_on() -> None:
    """What was called since the user's message comes last."""
    required = ToolUse(BOTH, "required")
    assert required.called("go", ["look"], 0, after_result=True) == [WALK]
    assert required.called("look and walk", ["look"], 0, after_result=True) == [WALK]
    assert required.called("look", ["look", "walk"], 0, after_result=True) == [LOOK]


def test_calls_are_told_in_pieces() -> None:
    """However the text is cut, the pieces make up the calls, and each call opens once, before its arguments."""
    script = script_of_calls(BOTH, 3, "call-")
    assert [call.call_id for call in script.calls] == ["call-0", "call-1"]
    assert json.loads(script.calls[0].arguments) == {"at": "sky"}
    for step in (1, 3, 7, 1000):
        cuts = [*range(0, len(script.text), step), len(script.text)]
        deltas = [delta for start, end in pairwise(cuts) for delta in script.call_deltas(start, end)]
        for index, call in enumerate(script.calls):
            mine = [delta for delta in deltas if delta.index == index]
            assert "".join(delta.arguments for delta in mine) == call.arguments
            assert [delta.opens for delta in mine] == [True] + [False] * (len(mine) - 1)
    assert script.call_deltas(0, 4) == []
    assert script.call_deltas(0, script.spans[0][0]) == [CallDelta(0, opens=True, arguments="")]


def test_a_script_goes_on_where_it_was_cut() -> None:
    """Its tokens make up its text, from the beginning and from any cut between two of them."""
    script = script_of_calls(BOTH, 3, "call-")
    tokens = script.tokens_after("")
    assert "".join(tokens) == script.text
    begun = "".join(tokens[:5])
    assert begun + "".join(script.tokens_after(begun)) == script.text


def test_the_error_names_the_tool() -> None:
    """Whose parameters are wrong."""
    with pytest.raises(UnfitError, match="parameters of the tool 'odd': invalid JSON schema"):
        script_of_calls([Tool("odd", {"type": "strange"})], 1, "call-")
