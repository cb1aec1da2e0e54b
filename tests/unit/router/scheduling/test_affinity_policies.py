"""What expected_ttft, prefix_affinity and consistent_hash promise of their picks."""

from collections import Counter
from random import Random

import pytest

from router.dispatch.replica import Replica
from router.estimator.expectation import Expectation, Usage
from router.estimator.model_estimator import ModelEstimator
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import EMPTY_CHAIN, ChunkChain, ChunkHasher
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest
from router.scheduling.expected_ttft import ExpectedTtft, Terms
from router.scheduling.filters import BoundedLoad
from router.scheduling.interface import Decision
from router.scheduling.registry import policy_named

HASHER = ChunkHasher(1)
RATE = 8000.0
TOKEN_BYTES = 4


def _prompt(name: str, tokens: int) -> ChunkChain:
    text = (name.encode() * (TOKEN_BYTES * tokens))[: TOKEN_BYTES * tokens]
    return HASHER.of_prompt(Prompt([text], tokens=tokens), model="m")


def _request(
    chain: ChunkChain = EMPTY_CHAIN, *, now_s: float = 0.0, session: str = "", number: int = 0
) -> RoutingRequest:
    return RoutingRequest(
        f"id{number}", "m", "/v1/completions", stream=True, body=b"", session=session, now_s=now_s, chain=chain
    )


def _report(  # noqa: PLR0913 - a report's fields
    *,
    waiting_tokens: int = 0,
    running: int = 0,
    kv_usage: float = 0.0,
    rate: float = 0.0,
    accepted: int = 0,
    kv: int = 0,
) -> LoadReport:
    return LoadReport(1, running, 0, waiting_tokens, kv_usage, kv, rate, 0.0, accepted)


class Gateway:
    """A policy with its estimator and replicas, driven as a dispatcher drives them."""

    def __init__(self, policy: str, replicas: int, seed: int = 0) -> None:
        self.estimator = ModelEstimator()
        self.policy = policy_named(policy, self.estimator)
        self.replicas = [
            Replica(Endpoint(f"r{number}", "m", "h", 1, kv_tokens=1_000_000)) for number in range(replicas)
        ]
        for replica in self.replicas:
            self.estimator.join(replica)
        self.rng = Random(seed)

    def report(self, replica: int, report: LoadReport, now_s: float = 0.0) -> None:
        """Take a replica's load report."""
        self.replicas[replica].report = report
        self.estimator.reported(self.replicas[replica], report, now_s)

    def decide(self, request: RoutingRequest) -> Decision[Replica]:
        """Look the prompt up and decide, without sending."""
        request.match = self.estimator.match(request.chain)
        decision = self.policy.decide(request, self.replicas, self.rng)
        assert decision is not None
        return decision

    def send(self, request: RoutingRequest, replica: int | None = None) -> tuple[str, Expectation]:
        """Send a request to the replica given, or to the one picked; return its id and the expectation."""
        chosen = self.decide(request).replica if replica is None else self.replicas[replica]
        chosen.engine.in_flight += 1
        request.match = self.estimator.match(request.chain)
        return chosen.replica_id, self.estimator.expect(request, chosen)

    def serve(self, request: RoutingRequest, ttft_s: float, replica: int | None = None, cached: int = 0) -> str:
        """Send a request that ends after `ttft_s`; return the id of its replica."""
        name, expectation = self.send(request, replica)
        ended_s = request.now_s + ttft_s
        self.estimator.prefilled(expectation, ended_s)
        self.estimator.finished(expectation, Usage(request.chain.tokens, cached, 1), ended_s)
        self.replicas[int(name[1:])].engine.in_flight -= 1
        self.estimator.check_integrity()
        return name


def test_the_cost_is_the_sum_of_its_terms() -> None:
    """Each cost is the sum of its seven terms, in seconds."""
    gateway = Gateway("expected_ttft", 3)
    gateway.serve(_request(_prompt("a", 5000)), 0.6)
    decision = gateway.decide(_request(_prompt("a", 6000), now_s=1.0))
    assert decision.term_names == Terms._fields
    assert decision.unit == "seconds"
    assert len(decision.terms) == len(decision.costs) == 3
    for terms, cost in zip(decision.terms, decision.costs, strict=True):
        assert sum(terms) == pytest.approx(cost)
        assert all(term >= 0.0 for term in terms)


def test_on_an_idle_cluster_the_cost_is_the_time_to_first_token() -> None:
    """With nothing waiting and nothing cached, the cost is the prompt's tokens over the prefill rate."""
    gateway = Gateway("expected_ttft", 2)
    assert gateway.decide(_request(_prompt("a", 4000))).costs == pytest.approx([0.5, 0.5])


def test_a_cached_prefix_attracts() -> None:
    """The next turn goes to the replica that has the history, though others are as idle."""
    gateway = Gateway("expected_ttft", 8)
    home = gateway.serve(_request(_prompt("a", 3000)), 0.4)
    for turn in range(1, 10):
        request = _request(_prompt("a", 3000 + 100 * turn), now_s=float(turn))
        assert gateway.serve(request, 0.02, cached=2900 + 100 * turn) == home


def test_a_hot_prefix_spreads_when_queueing_costs_more_than_computing_it_again() -> None:
    """A burst with one prefix goes to its replica first, then others get a copy; a longer prefix spreads later."""
    spread = {}
    for tokens in (500, 8000):
        gateway = Gateway("expected_ttft", 4)
        home = gateway.serve(_request(_prompt("a", tokens)), tokens / RATE)
        picks = []
        for number in range(100):
            text = b"a" * TOKEN_BYTES * tokens + b"%d" % number * TOKEN_BYTES * 100
            chain = HASHER.of_prompt(Prompt([text], tokens=len(text) // TOKEN_BYTES), model="m")
            picks.append(gateway.send(_request(chain, now_s=2.0, number=number))[0])
        assert picks[0] == home
        assert set(picks) == {"r0", "r1", "r2", "r3"}
        spread[tokens] = next(at for at, name in enumerate(picks) if name != home)
    assert spread[500] < spread[8000]


def test_a_burst_does_not_herd() -> None:
    """Requests sent at the same moment are spread evenly before any report, because each pick counts at once."""
    gateway = Gateway("expected_ttft", 4)
    for replica in range(4):
        gateway.report(replica, _report())
    picks = Counter(gateway.send(_request(_prompt(f"{number} ", 1000)))[0] for number in range(40))
    assert picks == {"r0": 10, "r1": 10, "r2": 10, "r3": 10}


def test_others_work_counts() -> None:
    """Waiting work from other gateways is known from the replica's report and raises its cost."""
    gateway = Gateway("expected_ttft", 2)
    gateway.report(0, _report(waiting_tokens=4000))
    gateway.report(1, _report())
    decision = gateway.decide(_request(_prompt("a", 800)))
    assert decision.costs == pytest.approx([0.6, 0.1])


def test_a_faster_replica_gets_more() -> None:
    """On mixed hardware each replica's rate is learned, and requests are shared in proportion to the rates."""
    gateway = Gateway("expected_ttft", 2)
    for number in range(30):
        request = _request(_prompt(f"{number}x", 2000), now_s=100.0 * number)
        gateway.serve(request, 2000 / 8000.0, replica=0)
        gateway.serve(request, 2000 / 2000.0, replica=1)
    picks = Counter(gateway.send(_request(_prompt(f"{n}y", 1000), now_s=9999.0))[0] for n in range(100))
    assert picks["r0"] == pytest.approx(80, abs=4)


def test_a_report_gives_the_rate_before_the_first_outcome() -> None:
    """A new replica has the prefill rate that it reports until it has outcomes."""
    gateway = Gateway("expected_ttft", 2)
    gateway.report(0, _report(rate=16_000.0))
    assert gateway.decide(_request(_prompt("a", 8000))).costs == pytest.approx([0.5, 1.0])


def test_what_a_replica_reports_of_itself_outlasts_what_its_peers_learned() -> None:
    """A replica that reports a low rate and had no requests yet keeps that rate after the next tick."""
    gateway = Gateway("expected_ttft", 2)
    for number in range(5):
        gateway.serve(_request(_prompt(f"p{number}", 4000), now_s=float(number)), 0.5, replica=0)
    gateway.report(1, _report(rate=1000.0), 5.0)
    gateway.estimator.tick(5.5)
    assert gateway.replicas[1].rates.tokens_per_s == pytest.approx(1000.0)


def test_a_full_cache_costs_its_wait() -> None:
    """A prompt that does not fit in the free KV cache costs a wait until running sequences end."""
    gateway = Gateway("expected_ttft", 2)
    gateway.report(0, _report(kv_usage=0.99, kv=10_000))
    gateway.report(1, _report(kv_usage=0.2, kv=10_000))
    decision = gateway.decide(_request(_prompt("a", 2000)))
    kv = decision.term_names.index("kv_s")
    assert decision.terms[0][kv] > 0.0
    assert decision.terms[1][kv] == 0.0
    assert decision.replica.replica_id == "r1"


def test_between_equals_the_least_used_cache_is_taken() -> None:
    """If evicted prefixes are asked for again, a replica that was given less prefill is picked between equals."""
    gateway = Gateway("expected_ttft", 4)
    for number in range(40):
        gateway.serve(_request(_prompt(f"{number}-", 1000), now_s=1.0 * number), 0.125, replica=number % 10 % 4)
    gateway.estimator.forgotten = 0.1
    picks = {gateway.decide(_request(_prompt(f"{n}+", 1000), now_s=100.0)).replica.replica_id for n in range(20)}
    assert picks <= {"r2", "r3"}  # they were given 8 requests each, the others 12


def test_noise_in_learned_rates_sends_nobody_astray() -> None:
    """On equal hardware, noise in the outcomes does not send all requests to the replica that looks fastest."""
    gateway = Gateway("expected_ttft", 4)
    rng = Random(5)
    picks = Counter[str]()
    for number in range(400):
        ttft_s = 1000 / RATE * rng.uniform(0.8, 1.2)
        picks[gateway.serve(_request(_prompt(f"{number}-", 1000), now_s=float(number)), ttft_s)] += 1
        gateway.estimator.tick(float(number))
    assert all(70 < count < 130 for count in picks.values())


def test_a_replica_nobody_asked_yet_is_no_faster_than_those_that_were() -> None:
    """A chat stays on the replica that caches it, because a new replica gets the rates that its peers have learned.

    Seen on real engines: they were 8 times slower than the prior, and the one without outcomes looked cheapest.
    """
    gateway = Gateway("expected_ttft", 2)
    chats = [_prompt(name, 600) for name in "abcd"]
    for number, chat in enumerate(chats):
        gateway.serve(_request(chat, now_s=0.1 * number), 0.8, replica=0)
    gateway.estimator.tick(1.5)
    for chat in chats:
        assert gateway.send(_request(chat, now_s=2.0))[0] == "r0"


def test_a_replica_that_failed_is_not_believed_to_hold_anything() -> None:
    """A request lost before its first token leaves nothing cached and no waiting work behind."""
    gateway = Gateway("expected_ttft", 2)
    request = _request(_prompt("a", 4000))
    name, expectation = gateway.send(request)
    gateway.estimator.lost(expectation, 0.1)
    gateway.estimator.lost(expectation, 0.2)  # a second end changes nothing
    gateway.estimator.finished(expectation, Usage(), 0.3)
    decision = gateway.decide(_request(_prompt("a", 4000), now_s=0.4))
    assert gateway.estimator.match(request.chain).count(name) == 0
    assert all(terms[0] == 0.0 for terms in decision.terms)
    gateway.estimator.check_integrity()


def test_a_replica_that_restarted_is_empty() -> None:
    """After a restart its cache, waiting work and rates start anew; requests of its former life end without error."""
    gateway = Gateway("expected_ttft", 2)
    request = _request(_prompt("a", 4000))
    name, expectation = gateway.send(request)
    at = int(name[1:])
    gateway.estimator.leave(gateway.replicas[at])
    gateway.estimator.prefilled(expectation, 0.5)
    gateway.estimator.finished(expectation, Usage(4000, 0, 1), 0.6)
    gateway.replicas[at] = Replica(gateway.replicas[at].endpoint)
    gateway.estimator.join(gateway.replicas[at])
    assert gateway.estimator.match(request.chain).count(name) == 0
    assert gateway.decide(request).terms[at][0] == 0.0
    assert gateway.replicas[at].rates.outcomes == 0
    gateway.estimator.check_integrity()


def test_without_a_prompt_the_queue_decides() -> None:
    """A body that is not understood goes to the replica with the least waiting work."""
    gateway = Gateway("expected_ttft", 2)
    gateway.report(0, _report(waiting_tokens=4000))
    assert gateway.decide(_request()).replica.replica_id == "r1"


def test_a_replica_the_estimator_does_not_know_can_be_weighed() -> None:
    """A replica that has not joined yet counts as empty and idle."""
    estimator = ModelEstimator()
    request = _request(_prompt("a", 800))
    request.match = estimator.match(request.chain)
    costs, _ = ExpectedTtft(estimator).weigh(request, [Replica(Endpoint("new", "m", "h", 1))])
    assert costs == pytest.approx([0.1])


def test_bytes_become_tokens_by_what_engines_count() -> None:
    """Bytes per token are learned from answers, so that text in any language is weighed right."""
    gateway = Gateway("expected_ttft", 1)
    text = HASHER.of_prompt(Prompt([b"x" * 9000]), model="m")
    assert gateway.estimator.match(text).tokens == 2250.0
    for number in range(300):
        request = _request(HASHER.of_prompt(Prompt([b"%d" % number * 3000]), model="m"), now_s=float(number))
        _, expectation = gateway.send(request)
        gateway.estimator.finished(expectation, Usage(request.chain.size_bytes // 2, 0, 1), number + 0.1)
    assert gateway.estimator.match(text).tokens == pytest.approx(4500.0, rel=0.05)


def test_prefix_affinity_takes_the_longest_match_within_the_load_bound() -> None:
    """The replica that holds most of the prompt is picked, unless its load is beyond the bound."""
    gateway = Gateway("prefix_affinity", 4)
    gateway.serve(_request(_prompt("a", 1000)), 0.1, replica=1)
    gateway.serve(_request(_prompt("a", 3000)), 0.1, replica=2)
    request = _request(_prompt("a", 4000), now_s=1.0)
    assert gateway.decide(request).replica.replica_id == "r2"
    gateway.replicas[2].engine.in_flight = 9
    assert gateway.decide(request).replica.replica_id == "r1"
    gateway.replicas[1].engine.in_flight = 9
    assert gateway.decide(request).replica.replica_id in {"r0", "r3"}
    gateway.replicas[0].engine.in_flight = 1
    assert gateway.decide(request).replica.replica_id == "r3"


def test_consistent_hash_keeps_sessions_and_spreads_them() -> None:
    """Each session has one replica, and many sessions are spread over all replicas."""
    gateway = Gateway("consistent_hash", 5)
    homes = [gateway.decide(_request(session=f"s{number}")).replica.replica_id for number in range(500)]
    again = [gateway.decide(_request(session=f"s{number}")).replica.replica_id for number in range(500)]
    assert homes == again
    assert all(60 < count < 140 for count in Counter(homes).values())


def test_consistent_hash_moves_only_the_sessions_of_the_replica_that_left() -> None:
    """The sessions of the replicas that stay do not move."""
    gateway = Gateway("consistent_hash", 5)
    before = [gateway.decide(_request(session=f"s{number}")).replica.replica_id for number in range(500)]
    del gateway.replicas[2]
    after = [gateway.decide(_request(session=f"s{number}")).replica.replica_id for number in range(500)]
    assert all(new == old for new, old in zip(after, before, strict=True) if old != "r2")
    assert "r2" not in after


def test_consistent_hash_without_a_session_places_by_the_prompts_start() -> None:
    """Without a session, turns of one chat go to one replica; requests without session and prompt are spread."""
    gateway = Gateway("consistent_hash", 8)
    turns = [_request(_prompt("a", 500 + 300 * turn)) for turn in range(5)]
    assert len({gateway.decide(turn).replica.replica_id for turn in turns}) == 1
    blind = {gateway.decide(_request(number=number)).replica.replica_id for number in range(50)}
    assert len(blind) > 4


@pytest.mark.parametrize("policy", ["consistent_hash", "prefix_affinity"])
def test_load_stays_within_the_bound(policy: str) -> None:
    """If all requests have one session and one prefix, no replica gets over 1.25 times its share, rounded up."""
    gateway = Gateway(policy, 4)
    for number in range(200):
        gateway.send(_request(_prompt("a", 1000), session="same", number=number))
        loads = [replica.in_flight for replica in gateway.replicas]
        assert max(loads) <= -(-1.25 * (number + 1) // 4)


def test_a_bound_below_the_mean_is_refused() -> None:
    """A bound below 1 is an error, because it could leave no replica to pick."""
    with pytest.raises(ValueError, match="leaves none"):
        BoundedLoad(0.9)
