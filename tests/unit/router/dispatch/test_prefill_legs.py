"""Prompts computed on one replica and fetched by another: when, on which, and what follows where one of them fails."""

from random import Random

import pytest

from cluster.spec.role import Role
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.prefill_legs import MAX_LEGS
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.estimator.streams.slack import StreamSlack
from router.estimator.streams.speed import StreamSpeed
from router.flow_control.limits import AdmissionLimits
from router.outcome import Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.replicas.kv_transfer import KvTransfer
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

HASHER = ChunkHasher(1)
SENDS = KvTransfer("nixl", sends=True, receives=False, block_tokens=32, lease_s=30.0)
FETCHES = KvTransfer("nixl", sends=False, receives=True, block_tokens=32)
LONG, SHORT = 40_000, 40
"""Bytes of prompts, four to a token."""


def _fleet(prefill: int = 2, decode: int = 2, fetches: KvTransfer = FETCHES) -> Dispatcher:
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0), limits=AdmissionLimits(late_binding=False))
    rows = [Endpoint(f"p{n}", "m", "h", 1, role=Role.PREFILL, transfer=SENDS, domain="a") for n in range(prefill)]
    rows += [Endpoint(f"d{n}", "m", "h", 1, role=Role.DECODE, transfer=fetches, domain="a") for n in range(decode)]
    dispatcher.set_replicas(rows, 0.0)
    return dispatcher


def _busy(dispatcher: Dispatcher, running: int = 50, now_s: float = 0.0) -> None:
    """Let every decode replica report its running streams, and that it computes 8 000 tokens a second."""
    for name in [name for name in dispatcher.fleet.replicas if name.startswith("d")]:
        dispatcher.report(name, LoadReport(1, running, 0, 0, 0.1, 1_000_000, 8_000.0, 2_000.0), now_s)


def _request(number: int = 0, size: int = LONG, text: str = "", *, is_divisible: bool = True) -> RoutingRequest:
    body = (f"{number} {text} ".encode() * size)[:size]
    chain = HASHER.of_prompt(Prompt([body]), model="m")
    return RoutingRequest(
        f"r{number}", "m", "/v1/completions", stream=True, body=body, chain=chain, is_divisible=is_divisible
    )


def _prefilled_by(ticket: Ticket) -> str:
    return ticket.prefill.replica.replica_id if ticket.prefill is not None else ""


def test_a_long_prompt_is_computed_elsewhere_while_streams_run_and_a_short_one_here() -> None:
    """With three streams on each decode replica 10 000 tokens are computed on a prefill replica, and ten are not."""
    dispatcher = _fleet()
    _busy(dispatcher, running=3)
    long, short = dispatcher.offer(_request(0), "t", 0.1), dispatcher.offer(_request(1, SHORT), "t", 0.1)
    assert _prefilled_by(long).startswith("p")
    assert long.attempt is not None
    assert long.attempt.replica.replica_id.startswith("d")
    assert long.attempt.expectation.is_fetched
    assert not _prefilled_by(short)


def test_there_is_no_threshold_but_load() -> None:
    """The same prompt is computed where it is answered as soon as the prefill replicas have enough to do."""
    dispatcher = _fleet()
    _busy(dispatcher, running=2)
    first = [dispatcher.offer(_request(number), "t", 0.0) for number in range(40)]
    assert _prefilled_by(first[0])
    assert not all(_prefilled_by(ticket) for ticket in first)


def test_prompts_are_divided_between_prefill_replicas() -> None:
    """A burst of prompts goes to all prefill replicas, as each counts there at once."""
    dispatcher = _fleet()
    _busy(dispatcher)
    tickets = [dispatcher.offer(_request(number), "t", 0.0) for number in range(4)]
    assert sorted(map(_prefilled_by, tickets)) == ["p0", "p0", "p1", "p1"]


def test_answers_are_divided_between_decode_replicas_before_their_prompts_are_computed() -> None:
    """A burst evens out the streams of decode replicas, though no report has it until its prompts are computed."""
    dispatcher = _fleet(prefill=4, decode=2)
    _busy(dispatcher)
    dispatcher.report("d1", LoadReport(2, 54, 0, 0, 0.1, 1_000_000, 8_000.0, 2_000.0), 0.0)
    tickets = [dispatcher.offer(_request(number), "t", 0.0) for number in range(40)]
    taken = [ticket.attempt.replica.replica_id for ticket in tickets if ticket.attempt is not None]
    assert taken.count("d0") == 22


def test_a_cached_prefix_draws_its_prompt() -> None:
    """The next prompt with the same beginning goes to the prefill replica that computed the first one."""
    dispatcher = _fleet()
    _busy(dispatcher)
    first = dispatcher.offer(_request(0, text="same"), "t", 0.0)
    dispatcher.prefill_done(first, Usage(10_000, 0, 1), 1.0)
    dispatcher.first_token(first, 1.1)
    dispatcher.finish(first, Outcome.OK, Usage(10_000, 10_000, 50), 3.0, is_whole=True)
    _busy(dispatcher, now_s=3.0)
    again = _request(0, size=2 * LONG, text="same")
    second = dispatcher.offer(again, "t", 3.1)
    # Both hold it now: the decode replica fetched it, so what is left is the second half, wherever it is computed.
    holders = {_prefilled_by(first), "d0", "d1"}
    assert second.attempt is not None
    assert {_prefilled_by(second) or second.attempt.replica.replica_id} <= holders
    assert again.match.count(_prefilled_by(first)) > 0


def test_a_failed_prefill_goes_to_another_replica_and_then_to_the_one_that_answers() -> None:
    """Two prefill replicas are tried; after them the decode replica computes the prompt, and nothing stays reserved."""
    dispatcher = _fleet(prefill=3)
    _busy(dispatcher)
    ticket = dispatcher.offer(_request(), "t", 0.0)
    tried = []
    for _ in range(MAX_LEGS):
        tried.append(_prefilled_by(ticket))
        dispatcher.prefill_failed(ticket, Fault.FAILED, 0.1)
    assert len(set(tried) - {""}) == MAX_LEGS
    assert ticket.prefill is None
    assert ticket.attempt is not None
    assert not ticket.attempt.expectation.is_fetched
    assert ticket.attempt.expectation.uncached_tokens > 1_000
    assert all(dispatcher.fleet.replicas[name].in_flight == 0 for name in tried)


def test_a_prefill_replica_that_breaks_off_is_left_out() -> None:
    """The next prompts go to the other prefill replica, as after any broken connection."""
    dispatcher = _fleet()
    _busy(dispatcher)
    ticket = dispatcher.offer(_request(), "t", 0.0)
    failed = _prefilled_by(ticket)
    dispatcher.prefill_failed(ticket, Fault.FAILED, 0.1)
    assert failed not in {_prefilled_by(dispatcher.offer(_request(number), "t", 0.2)) for number in range(1, 5)}


def test_a_slow_or_busy_prefill_replica_has_not_failed() -> None:
    """One that is late still gets prompts; one that says it is busy gets none until the time it names."""
    dispatcher = _fleet(prefill=1)
    _busy(dispatcher)
    late = dispatcher.offer(_request(0), "t", 0.0)
    dispatcher.prefill_failed(late, Fault.SLOW, 9.0)
    _busy(dispatcher, now_s=9.0)
    busy = dispatcher.offer(_request(1), "t", 9.0)
    assert _prefilled_by(busy) == "p0"
    dispatcher.prefill_failed(busy, Fault.BUSY, 9.1, retry_after_s=5.0)
    assert not _prefilled_by(dispatcher.offer(_request(2), "t", 10.0))
    _busy(dispatcher, now_s=15.0)
    assert _prefilled_by(dispatcher.offer(_request(3), "t", 15.0)) == "p0"


def test_another_decode_replica_fetches_what_is_still_kept() -> None:
    """If the decode replica fails before its first byte, the next one fetches the same blocks while the lease holds."""
    dispatcher = _fleet()
    _busy(dispatcher)
    ticket = dispatcher.offer(_request(), "t", 0.0)
    assert ticket.attempt is not None
    prefiller, first = _prefilled_by(ticket), ticket.attempt.replica
    dispatcher.prefill_done(ticket, Usage(10_000, 0, 1), 1.0)
    dispatcher.fail(ticket, Fault.FAILED, 2.0)
    assert ticket.attempt is not None
    assert ticket.attempt.replica is not first
    assert ticket.attempt.expectation.is_fetched
    assert _prefilled_by(ticket) == prefiller
    assert ticket.legs == 1


def test_after_the_lease_the_prompt_is_computed_anew() -> None:
    """Blocks that are kept no longer are not counted on."""
    dispatcher = _fleet()
    _busy(dispatcher)
    ticket = dispatcher.offer(_request(), "t", 0.0)
    dispatcher.prefill_done(ticket, Usage(10_000, 0, 1), 1.0)
    dispatcher.fail(ticket, Fault.FAILED, 40.0)
    assert ticket.attempt is not None
    leg = ticket.prefill
    assert leg is None or leg.done_s is None or not ticket.attempt.expectation.is_fetched


@pytest.mark.parametrize(
    "fetches",
    [KvTransfer("other", False, True, 32), KvTransfer("nixl", False, True, 16), KvTransfer("nixl", False, False, 32)],  # noqa: FBT003 - sends, receives
)
def test_replicas_that_do_not_fit_never_meet(fetches: KvTransfer) -> None:
    """Another protocol, another block size, or one that fetches nothing: nothing is handed over."""
    dispatcher = _fleet(fetches=fetches)
    _busy(dispatcher)
    assert not _prefilled_by(dispatcher.offer(_request(), "t", 0.0))


def test_a_request_that_cannot_be_divided_is_not() -> None:
    """The driver may say that a request is one piece."""
    dispatcher = _fleet()
    _busy(dispatcher)
    assert not _prefilled_by(dispatcher.offer(_request(is_divisible=False), "t", 0.0))


def test_prefill_replicas_never_answer() -> None:
    """Without a decode replica requests wait, however many prefill replicas there are."""
    dispatcher = _fleet(decode=0)
    ticket = dispatcher.offer(_request(), "t", 0.0)
    assert ticket.attempt is None
    assert not dispatcher.is_taking


def test_replicas_that_do_both_compute_for_others_while_few_streams_run_there() -> None:
    """A replica that answers may also keep a prompt for a decode replica; what its own streams lose is counted."""
    both = KvTransfer("nixl", sends=True, receives=False, block_tokens=32)
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0), limits=AdmissionLimits(late_binding=False))
    rows = [Endpoint("b", "m", "h", 1, transfer=both), Endpoint("d", "m", "h", 1, role=Role.DECODE, transfer=FETCHES)]
    dispatcher.set_replicas(rows, 0.0)
    chosen = {}
    for running in (0, 60):
        for name, streams in (("b", running), ("d", 40)):
            dispatcher.report(name, LoadReport(1, streams, 0, 0, 0.1, 1_000_000, 8_000.0, 2_000.0), 0.0)
        ticket = dispatcher.offer(_request(running), "t", 0.0)
        assert ticket.attempt is not None
        entry = dispatcher.journal.find(f"r{running}")
        assert entry is not None
        pair = next(way for way in entry.attempts[-1].candidates() if way.prefill_id == "b")
        chosen[running] = pair.terms["streams_s"]
        assert sum(pair.terms.values()) == pytest.approx(pair.cost)
        dispatcher.finish(ticket, Outcome.CLIENT_LEFT, Usage(), 0.0)
    slack = StreamSlack()
    alone = slack.price_s(1.25, 60, StreamSpeed(), 0.0)
    assert alone > 60.0
    assert chosen[60] - chosen[0] == pytest.approx(alone, rel=0.01)


def test_a_client_that_leaves_frees_the_prefill_replica() -> None:
    """Whenever the client leaves, no place and no waiting work stays on the prefill replica."""
    dispatcher = _fleet()
    _busy(dispatcher)
    ticket = dispatcher.offer(_request(), "t", 0.0)
    prefiller = dispatcher.fleet.replicas[_prefilled_by(ticket)]
    assert prefiller.pending.wait_s(0.0, 1.0) > 0.0
    dispatcher.finish(ticket, Outcome.CLIENT_LEFT, Usage(), 0.1)
    assert (prefiller.in_flight, prefiller.pending.wait_s(0.1, 1.0)) == (0, 0.0)
    dispatcher.check_integrity(0.1)


def test_transfers_are_learned_by_place() -> None:
    """After slow transfers between two domains, a pair within one domain is preferred."""
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0), limits=AdmissionLimits(late_binding=False))
    rows = [Endpoint(f"p-{place}", "m", "h", 1, role=Role.PREFILL, transfer=SENDS, domain=place) for place in "ab"]
    rows += [Endpoint("d", "m", "h", 1, role=Role.DECODE, transfer=FETCHES, domain="a")]
    dispatcher.set_replicas(rows, 0.0)
    now_s, seen = 0.0, []
    for number in range(60):
        _busy(dispatcher, now_s=now_s)
        ticket = dispatcher.offer(_request(number), "t", now_s)
        prefiller = _prefilled_by(ticket)
        seen.append(prefiller)
        now_s += 1.25
        if prefiller:
            dispatcher.prefill_done(ticket, Usage(10_000, 0, 1), now_s)
            now_s += 3.0 if prefiller == "p-b" else 0.05
        dispatcher.first_token(ticket, now_s)
        dispatcher.finish(ticket, Outcome.OK, Usage(10_000, 0, 4), now_s + 0.1, is_whole=True)
        now_s += 10.0
    assert seen[-20:].count("p-a") > 18


def test_why_shows_the_losing_pairs() -> None:
    """The journal has each way that was weighed, the cheapest first, with terms that add up to its cost."""
    dispatcher = _fleet()
    _busy(dispatcher)
    ticket = dispatcher.offer(_request(), "t", 0.0)
    entry = dispatcher.journal.find("r0")
    assert entry is not None
    ways = entry.attempts[-1].candidates()
    assert {(way.prefill_id, way.replica_id) for way in ways} >= {("", "d0"), ("", "d1")}
    assert sum(bool(way.prefill_id) for way in ways) == 2
    assert ways[0].prefill_id == _prefilled_by(ticket) == entry.attempts[-1].prefilled_by
    for way in ways:
        assert sum(way.terms.values()) == pytest.approx(way.cost)


def test_a_prefill_replica_that_fails_after_all_of_its_group_are_gone_costs_one_request_its_leg() -> None:
    """A whole machine is lost: the directory drops all replicas, and only then connections to them break."""
    dispatcher = _fleet()
    _busy(dispatcher, running=3)
    ticket = dispatcher.offer(_request(0), "t", 0.1)
    assert _prefilled_by(ticket)
    dispatcher.set_replicas([], 0.2)
    dispatcher.prefill_failed(ticket, Fault.FAILED, 0.3)
    assert ticket.prefill is None
    dispatcher.fail(ticket, Fault.FAILED, 0.4)
    dispatcher.check_integrity(0.4)
