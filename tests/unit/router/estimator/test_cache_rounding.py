"""Cache rounding: what engines compute again of a prefix that they hold, and what that does to a hot prefix."""

from random import Random

import pytest

from router.dispatch.dispatcher import Dispatcher
from router.estimator.cache_rounding import FIRST_TOKENS, CacheRounding
from router.estimator.expectation import Usage
from router.outcome import Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.request import RoutingRequest

HASHER = ChunkHasher(1)
PREFIX = b"a word " * 1714  # 3 000 tokens of 4 bytes
BLOCK = 32


def test_the_mean_follows_answers_and_leaves_evictions_out() -> None:
    """Engines that compute 24 tokens more than the chunks leave: learned in 60 answers; an evicted prefix is none."""
    rounding = CacheRounding()
    assert rounding.tokens == FIRST_TOKENS
    for _ in range(60):
        rounding.learn(1000.0, 900.0 - 24.0, 0.9)
        rounding.learn(1000.0, 0.0, 0.9)
    assert rounding.tokens == pytest.approx(24.0, abs=1.0)


def test_an_engine_that_holds_more_than_the_chunks_say_rounds_nothing() -> None:
    """The mean is never below 0: no prompt has fewer tokens to compute than are not cached."""
    rounding = CacheRounding()
    for _ in range(60):
        rounding.learn(1000.0, 930.0, 0.9)
    assert rounding.tokens == 0.0


def test_a_hot_prefix_spreads_over_idle_servers() -> None:
    """64 questions to one prefix of 3 000 tokens, 2 ms apart, at 8 idle plain servers, none of which tells anything.

    Each question that follows the first to its server has some 24 tokens of its own, and a block's rest, to compute.
    By its own tokens alone 2 servers got all of them.
    """
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0))
    dispatcher.set_replicas([Endpoint(f"r{n}", "m", "h", 1, kv_tokens=38_400) for n in range(8)], 0.0)
    for number in range(64):
        question = b" and number %d? " % number + b"why is that so " * 5
        chain = HASHER.of_prompt(Prompt([PREFIX, question]), model="m")
        request = RoutingRequest(str(number), "m", "/v1/completions", stream=True, body=b"", chain=chain)
        dispatcher.offer(request, "ann", 0.002 * number)
    got = [replica.in_flight for replica in dispatcher.fleet.replicas.values()]
    assert sum(got) == 64
    assert sum(count > 0 for count in got) >= 3


def test_what_replicas_report_is_taken_as_it_is() -> None:
    """An answer of a server whose cache is inferred teaches; the next prompt there expects the rounding on top."""
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0))
    dispatcher.set_replicas([Endpoint("r0", "m", "h", 1, kv_tokens=38_400)], 0.0)
    chain = HASHER.of_prompt(Prompt([PREFIX]), model="m")
    for number in range(80):
        request = RoutingRequest(str(number), "m", "/v1/completions", stream=True, body=b"", chain=chain)
        ticket = dispatcher.offer(request, "ann", float(number))
        dispatcher.first_token(ticket, number + 0.1)
        tokens = len(PREFIX) // 4
        usage = Usage(tokens, tokens - BLOCK if number else 0, 8)
        dispatcher.finish(ticket, Outcome.OK, usage, number + 0.2, is_whole=True)
    assert dispatcher.estimator.rounding.tokens == pytest.approx(BLOCK, abs=2.0)
