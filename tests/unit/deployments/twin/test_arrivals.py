"""The requests of a load: as many and as long as asked for, in the order of their times, and the same for a seed."""

from itertools import islice, pairwise
from typing import Any

import pytest

from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.trace import TraceRequest
from deployments.twin.arrivals import ANYBODY, Arrival, recorded
from deployments.twin.closed_loop import streams
from deployments.twin.scenario_file import SCENARIO_FILE


def _drawn(*load: dict[str, Any], seed: int = 0) -> list[Arrival]:
    return list(islice(streams(SCENARIO_FILE.from_data({"load": list(load)}, "test").load, seed), 100_000))


@pytest.mark.parametrize("shape", ["poisson", "even", "bursts"])
def test_the_rate_is_the_one_asked_for(shape: str) -> None:
    """10 a second for 2 000 s, whatever the shape; bursts are rare and vary more."""
    drawn = _drawn({"rate": 10.0, "seconds": 2000.0, "shape": shape})
    assert len(drawn) == pytest.approx(20_000, rel=0.35 if shape == "bursts" else 0.03)
    assert all(one.at_s <= two.at_s for one, two in pairwise(drawn))
    assert drawn[-1].at_s < 2000.0


def test_lengths_have_the_means_asked_for() -> None:
    """Log-normal with the given means; with no spread all are equally long."""
    drawn = _drawn({"rate": 50.0, "requests": 20_000, "prompt_tokens": 1000, "output_tokens": 100})
    assert sum(each.prompt_tokens for each in drawn) / len(drawn) == pytest.approx(1000, rel=0.03)
    assert sum(each.output_tokens for each in drawn) / len(drawn) == pytest.approx(100, rel=0.03)
    even = _drawn({"rate": 5.0, "requests": 10, "prompt_tokens": 1000, "spread": 0.0})
    assert {each.prompt_tokens for each in even} == {1000}


def test_prompts_share_beginnings() -> None:
    """Prompts begin with one of three prefixes of two blocks."""
    shared = _drawn({"rate": 5.0, "requests": 200, "prompt_tokens": 3000, "prefixes": 3, "prefix_tokens": 1024})
    assert len({tuple(each.blocks[:2]) for each in shared}) == 3
    assert all(len(each.blocks) == each.prompt_tokens // BLOCK_TOKENS for each in shared)


def test_a_seed_gives_the_same_requests_and_streams_do_not_disturb_one_another() -> None:
    """A second stream changes nothing in the first."""
    one = {"rate": 5.0, "requests": 100, "tenants": {"a": 1.0}}
    two = {"rate": 2.0, "requests": 100, "tenants": {"b": 1.0}}
    assert _drawn(one, seed=3) == _drawn(one, seed=3) != _drawn(one, seed=4)
    assert [each for each in _drawn(one, two) if each.tenant == "a"] == _drawn(one)


def test_a_traces_tenants_and_models_are_those_of_the_file() -> None:
    """Numbers stand for the file's tenants in their order; a model that is not served is the file's first."""
    trace = [
        TraceRequest(0.0, 600, 5, [1, 2], model="chat", tenant=2),
        TraceRequest(1000.0, 600, 5, [1, 3], model="other", tenant=7),
        TraceRequest(2000.0, 600, 0, [1, 4]),
    ]
    first, second, third = recorded(trace, 0, speedup=2.0, tenants=("ann", "bob"), models={"chat"})
    assert (first.model, first.tenant, first.at_s) == ("chat", "bob", 0.0)
    assert (second.model, second.tenant, second.at_s) == ("", "tenant-7", 0.5)
    assert (third.tenant, third.output_tokens) == (ANYBODY, 1)
    assert first.blocks == second.blocks
    assert len(first.blocks) == 1
