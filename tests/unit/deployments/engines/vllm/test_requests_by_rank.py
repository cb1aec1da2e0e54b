"""Which of vLLM's requests are on which data-parallel rank."""

from dataclasses import dataclass

from deployments.engines.vllm.ranks.requests_by_rank import PromptState, RequestsByRank


@dataclass
class State:
    """vLLM's record of a request, as far as it matters here."""

    prompt_len: int
    is_prefilling: bool = True
    remote_prefill_cached_tokens: int | None = None


def test_one_rank_has_every_request() -> None:
    """Without data parallelism nothing is noted, and vLLM's own records count."""
    states: dict[str, PromptState] = {"a": State(10), "b": State(5, is_prefilling=False)}
    requests = RequestsByRank(states, 1)
    assert (len(requests.on(0)), requests.tokens_to_prefill(0), requests.emptiest()) == (2, 10, 0)


def test_a_rank_has_its_own_requests_until_they_end() -> None:
    """A prompt counts on its rank until its first token, and not where another engine computed it."""
    states: dict[str, PromptState] = {}
    requests = RequestsByRank(states, 2)
    for name, rank, state in (("a", 0, State(10)), ("b", 1, State(7)), ("c", 1, State(100, True, 3))):  # noqa: FBT003
        states[name] = state
        requests.added(name, rank)
    assert [requests.tokens_to_prefill(rank) for rank in (0, 1)] == [10, 7]
    assert [len(requests.on(rank)) for rank in (0, 1)] == [1, 2]
    del states["b"]
    assert [len(requests.on(rank)) for rank in (0, 1)] == [1, 1]
    states["b"] = State(5)  # the id of a request that has ended, used again
    requests.added("b", 0)
    assert [len(requests.on(rank)) for rank in (0, 1)] == [2, 1]


def test_the_emptiest_rank_is_taken_and_equal_ones_in_turn() -> None:
    """As vLLM balances: by number of requests, without a favourite among equal ranks."""
    states: dict[str, PromptState] = {}
    requests = RequestsByRank(states, 3)
    assert [requests.emptiest() for _ in range(4)] == [0, 1, 2, 0]
    for number, rank in enumerate((0, 0, 1, 2, 2)):
        states[f"{number}"] = State(1)
        requests.added(f"{number}", rank)
    assert {requests.emptiest() for _ in range(3)} == {1}
