"""`kv_transfer_params`: what an engine can act on, and what it must not be given."""

from typing import Any

import pytest

from deployments.engines.remote_prompt import RemotePrompt, checked_params, remote_prompt

FETCH: dict[str, Any] = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_block_ids": [[4, 5, 6]],
    "remote_engine_id": "engine",
    "remote_request_id": "request",
    "remote_host": "10.0.0.1",
    "remote_port": 5600,
    "tp_size": 1,
    "remote_num_tokens": 70,
    "remote_prefill_cached_tokens": 32,
    "transfer_mode": "pull",
}
WRONG = [
    {"do_remote_prefill": False},
    {"remote_block_ids": None},
    {"remote_block_ids": []},
    {"remote_block_ids": [[], []]},
    {"remote_block_ids": [1, 2]},
    {"remote_block_ids": [[1, -2]]},
    {"remote_block_ids": [["1"]]},
    {"remote_block_ids": "blocks"},
    {"remote_engine_id": ""},
    {"remote_request_id": 7},
    {"remote_host": None},
    {"remote_port": "5600"},
    {"remote_port": 0},
    {"remote_port": 70_000},
    {"remote_port": True},
    {"tp_size": 0},
    {"pp_size": "1"},
]


def test_all_of_a_prompt_is_read() -> None:
    """Where it is, how long it is, and what of it was found in a cache; some engines don't say the last two."""
    assert remote_prompt(FETCH) == RemotePrompt("engine", "request", "10.0.0.1", 5600, tokens=70, cached_tokens=32)
    silent = {**FETCH, "remote_num_tokens": None, "remote_prefill_cached_tokens": None}
    assert remote_prompt(silent) == RemotePrompt("engine", "request", "10.0.0.1", 5600)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_or_missing_is_no_prompt(wrong: dict[str, Any]) -> None:
    """Nothing of them is passed on: vLLM would hang at some and die at others."""
    assert remote_prompt({**FETCH, **wrong}) is None
    assert checked_params({**FETCH, **wrong}, 70, 32) is None


@pytest.mark.parametrize(("tokens", "is_of"), [(69, False), (70, True), (71, True), (102, True), (103, False)])
def test_the_length_must_be_the_prompts(tokens: int, *, is_of: bool) -> None:
    """A prompt of another length is another prompt; up to a block may be missing at the end."""
    found = remote_prompt(FETCH)
    assert found is not None
    assert found.is_of(tokens, block_tokens=32) is is_of
    assert (checked_params(FETCH, tokens, 32) == FETCH) is is_of


def test_a_length_that_nobody_knows_is_not_checked() -> None:
    """Neither where the engine does not say it, nor where the prompt has no tokens yet."""
    assert checked_params({**FETCH, "remote_num_tokens": None}, 7, 32) is not None
    assert checked_params(FETCH, None, 32) == FETCH


def test_to_compute_a_prompt_is_all_that_is_left_of_such_a_request() -> None:
    """What else it names makes vLLM wait for blocks that nobody sends."""
    both = {**FETCH, "do_remote_decode": True, "do_remote_prefill": False}
    assert checked_params(both, 70, 32) == {"do_remote_decode": True, "do_remote_prefill": False}
