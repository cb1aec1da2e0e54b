"""A dry run says where a request would go, by the same rules as if it went."""

from random import Random

import pytest

from router.dispatch.dispatcher import Dispatcher
from router.estimator.expectation import Usage
from router.http.exchange.dry_run import dry_run
from router.outcome import Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

HASHER = ChunkHasher(1)


def _request(text: bytes) -> RoutingRequest:
    chain = HASHER.of_prompt(Prompt([text]), model="m")
    return RoutingRequest("id", "m", "/v1/completions", stream=True, body=b"{}", chain=chain)


@pytest.mark.parametrize("ahead_tokens", [400, 4_000, 60_000])
def test_it_names_the_replica_that_a_request_goes_to(ahead_tokens: int) -> None:
    """Where the prompt is cached, whether that one has room, has more prefill ahead than it should, or far too much."""
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0))
    dispatcher.set_replicas([Endpoint(f"r{number}", "m", "h", 1) for number in range(2)], 0.0)
    first = dispatcher.offer(_request(b"0" * 40_000), "ann", 0.0)
    assert first.attempt is not None
    held = first.attempt.replica.replica_id
    dispatcher.first_token(first, 0.01)
    dispatcher.finish(first, Outcome.OK, Usage(10_000, 0, 1), 0.02, is_whole=True)
    for replica in ("r0", "r1"):
        waiting = ahead_tokens if replica == held else 400
        dispatcher.report(replica, LoadReport(1, 1, 0, waiting, 0.1, 100_000, 8_000.0, 100.0, 0, 0, 1), 0.1)
    told = dry_run(dispatcher, _request(b"0" * 40_000), "ann", 0.2)
    ticket = dispatcher.offer(_request(b"0" * 40_000), "ann", 0.2)
    assert ticket.attempt is not None
    assert told["would"] == "go"
    assert told["picked"] == ticket.attempt.replica.replica_id
