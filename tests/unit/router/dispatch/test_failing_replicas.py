"""Which replicas are left out for what they answer, for how long, and how they come back."""

from random import Random

import pytest

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.engine import Engines
from router.dispatch.health import ERRORS_IN_A_ROW, PAUSE_MAX_S, PAUSE_S, PROBE_S, Standing
from router.dispatch.replica import Replica
from router.dispatch.resends import FRUITLESS_AT_ONCE, FRUITLESS_SHARE
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits
from router.flow_control.queued_request import RequestState
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint
from router.request import RoutingRequest
from router.scheduling.registry import POLICIES


class Model:
    """A dispatcher with some replicas, of which some fail; virtual time.

    Attributes:
        failing: ids of the replicas that answer every request with an error.
        sent: number of requests that each replica got.
        seen: what clients saw: True, a good answer; False, an error.
    """

    def __init__(self, replicas: int, policy: str = "least_load", failing: tuple[int, ...] = ()) -> None:
        self.dispatcher = Dispatcher("m", policy, rng=Random(0), limits=AdmissionLimits())
        self.set_replicas(range(replicas))
        self.failing = {f"r{number}" for number in failing}
        self.sent = dict.fromkeys(self.dispatcher.fleet.replicas, 0)
        self.seen: list[bool] = []
        self.now_s = 0.0
        self._requests = 0

    def set_replicas(self, numbers: range) -> None:
        """Set which replicas exist."""
        self.dispatcher.set_replicas([Endpoint(f"r{number}", "m", "h", 1) for number in numbers], 0.0)

    def replica(self, number: int) -> Replica:
        """Return a replica."""
        return self.dispatcher.fleet.replicas[f"r{number}"]

    def offer(self, body: bytes = b"") -> Ticket:
        """Offer a request; its body is one of a kind unless it is given."""
        self._requests += 1
        request = RoutingRequest(
            f"{self._requests}", "m", "/v1/completions", stream=False, body=body or b"%d" % self._requests
        )
        return self.dispatcher.offer(request, "ann", self.now_s)

    def answer(self, ticket: Ticket, fault: Fault = Fault.ERROR) -> None:
        """Let replicas answer a request to its end, well or with an error, by who has it."""
        while True:
            assert ticket.attempt is not None
            name = ticket.attempt.replica.replica_id
            self.sent[name] += 1
            if name not in self.failing:
                self.finish_well(ticket)
                return
            if not self.error(ticket, fault):
                return

    def finish_well(self, ticket: Ticket) -> None:
        """Let a request's replica answer it well."""
        self.dispatcher.answers(ticket, self.now_s)
        self.dispatcher.finish(ticket, Outcome.OK, Usage(1, 0, 1), self.now_s, is_whole=True)
        self.seen.append(True)
        self.dispatcher.check_integrity(self.now_s)

    def error(self, ticket: Ticket, fault: Fault = Fault.ERROR, retry_after_s: float | None = None) -> bool:
        """Let a request's replica answer it with an error; return whether it went elsewhere."""
        judge = self.dispatcher.judge
        if judge.answers_error(ticket, fault, self.now_s, retry_after_s=retry_after_s, is_repeatable=True):
            self.dispatcher.fail(ticket, fault, self.now_s)
            self.dispatcher.check_integrity(self.now_s)
            return True
        self.dispatcher.finish(ticket, Outcome.UPSTREAM_STATUS, Usage(0, 0, 0), self.now_s)
        self.seen.append(False)
        self.dispatcher.check_integrity(self.now_s)
        return False

    def serve(self, count: int, body: bytes = b"") -> None:
        """Serve requests one after the other."""
        for _ in range(count):
            self.answer(self.offer(body))

    def passes(self, seconds: float) -> None:
        """Let time pass, in the steps in which a gateway looks at it."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(until_s, self.now_s + 0.25)
            self.dispatcher.tick(self.now_s)
            self.dispatcher.check_integrity(self.now_s)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_replica_that_answers_errors_is_left_out_and_no_client_sees_one(policy: str) -> None:
    """Under every policy each of its errors is answered by another replica, and after a few it gets no more."""
    model = Model(3, policy, failing=(1,))
    model.serve(60)
    assert all(model.seen)
    assert model.sent["r1"] <= ERRORS_IN_A_ROW


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_replica_that_recovers_gets_requests_again(policy: str) -> None:
    """After its pause one request decides: answered well, it is up again and its errors are forgotten."""
    model = Model(2, policy, failing=(0,))
    for _ in range(20):
        model.serve(1)
        model.passes(0.25)
    model.failing.clear()
    model.passes(PAUSE_MAX_S)
    tickets = [model.offer() for _ in range(8)]
    assert any(ticket.attempt is not None and ticket.attempt.replica is model.replica(0) for ticket in tickets)
    for ticket in tickets:
        model.finish_well(ticket)
    health = model.replica(0).health
    assert (health.standing, health.errors, health.pauses) == (Standing.UP, frozenset(), 0)


def _failed_out(replicas: int = 2) -> Model:
    """Return a model whose replica 0 has just been left out for errors."""
    model = Model(replicas, failing=(0,))
    while model.replica(0).accepting:
        model.serve(1)
    return model


def test_one_request_at_a_time_decides_the_probation() -> None:
    """While it runs, all others go elsewhere; when it is answered well, they may go there again."""
    model = _failed_out()
    model.passes(PAUSE_S)
    assert model.replica(0).health.standing is Standing.PROBATION
    tickets = [model.offer() for _ in range(6)]
    on_it = [ticket for ticket in tickets if ticket.attempt is not None and ticket.attempt.replica is model.replica(0)]
    assert len(on_it) == 1
    model.dispatcher.answers(on_it[0], model.now_s)
    assert model.replica(0).accepting
    assert model.offer().attempt.replica is model.replica(0)  # type: ignore[union-attr]


def test_each_probation_that_fails_doubles_the_pause() -> None:
    """Pauses are 0.5, 1, 2, 4 and then 8 s, and no request goes there within one."""
    model = _failed_out()
    pauses = []
    for _ in range(6):
        began_s = model.now_s
        while not model.replica(0).accepting:
            model.serve(1)
            model.passes(0.25)
        pauses.append(model.now_s - began_s)
        sent = model.sent["r0"]
        while model.replica(0).accepting:
            model.serve(1)
        assert model.sent["r0"] == sent + 1
    assert pauses == [PAUSE_S, 1.0, 2.0, 4.0, PAUSE_MAX_S, PAUSE_MAX_S]
    assert all(model.seen)


def test_a_probe_that_decides_nothing_lets_another_follow() -> None:
    """So it is where its client leaves, and where it is not answered for a time."""
    model = _failed_out()
    model.passes(PAUSE_S)

    def probe() -> Ticket:
        return next(
            ticket
            for ticket in (model.offer() for _ in range(9))
            if ticket.attempt is not None and ticket.attempt.replica is model.replica(0)
        )

    left = probe()
    assert not model.replica(0).accepting
    model.dispatcher.finish(left, Outcome.CLIENT_LEFT, Usage(), model.now_s)
    assert model.replica(0).accepting
    probe()
    model.passes(PROBE_S)
    assert model.replica(0).accepting


@pytest.mark.parametrize(("replicas", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_never_are_more_than_half_left_out_for_their_errors(replicas: int, most: int) -> None:
    """Where all replicas answer with errors, at least half of them stay in use at any time."""
    model = Model(replicas, "round_robin", failing=tuple(range(replicas)))
    left_out = []
    for _ in range(40):
        model.serve(3)
        left_out.append(sum(not replica.accepting for replica in model.dispatcher.fleet.replicas.values()))
        model.passes(0.25)
    assert max(left_out) == most


def test_replicas_come_back_where_others_leave() -> None:
    """Half of those that are left stay in use, if need be before a pause is over."""
    model = Model(4, "round_robin", failing=(0, 1))
    model.serve(40)
    assert [model.replica(number).accepting for number in range(4)] == [False, False, True, True]
    model.set_replicas(range(3))
    assert sum(not model.replica(number).accepting for number in range(3)) == 1
    model.dispatcher.check_integrity(model.now_s)


def test_a_broken_replica_and_one_with_errors_do_not_leave_too_few() -> None:
    """A replica that answers with errors stays in use while the only other one is left out, as its port is dead."""
    model = Model(2, failing=(0, 1))
    ticket = model.offer()
    model.dispatcher.fail(ticket, Fault.FAILED, 0.0)
    assert ticket.attempt is not None
    staying = ticket.attempt.replica
    model.error(ticket)
    model.serve(10)
    assert staying.accepting


def test_one_bad_request_blames_nobody_however_often_it_comes() -> None:
    """The same body counts once in a row, on each replica, so a request that fails everywhere puts none out."""
    model = Model(4, "round_robin", failing=(0, 1, 2, 3))
    model.serve(50, body=b"bad")
    assert all(replica.accepting for replica in model.dispatcher.fleet.replicas.values())
    assert not any(model.seen)


def test_a_request_that_others_answer_was_not_bad() -> None:
    """An error counts, also of the same body again, once another replica answers that request well."""
    model = Model(2, "round_robin", failing=(0,))
    model.serve(20, body=b"hello")
    assert all(model.seen)
    assert not model.replica(0).accepting


def test_errors_count_in_a_row_only() -> None:
    """A replica that answers well in between is never left out."""
    model = Model(2, "round_robin")
    for number in range(40):
        model.failing = {"r0"} if number % 4 else set()
        if model.replica(0).health.errors and len(model.replica(0).health.errors) == ERRORS_IN_A_ROW - 1:
            model.failing.clear()
        model.serve(1)
    assert all(model.seen)
    assert model.replica(0).accepting


def test_a_refusal_of_the_request_never_counts() -> None:
    """Any number of 4xx answers leaves a replica in use, and ends no probation of one that answered with errors."""
    model = _failed_out()
    health = model.replica(0).health
    model.passes(PAUSE_S)
    for _ in range(6):
        ticket = model.offer()
        model.dispatcher.judge.refuses(ticket, model.now_s)
        model.dispatcher.finish(ticket, Outcome.UPSTREAM_STATUS, Usage(0, 0, 0), model.now_s)
        model.dispatcher.check_integrity(model.now_s)
    assert (health.standing, health.takes) == (Standing.PROBATION, True)
    assert model.replica(1).health.errors == frozenset()


def test_what_was_sent_before_the_pause_says_nothing() -> None:
    """A late good answer lets a replica back in no sooner, and a late error does not lengthen its pause."""
    model = Model(2, "round_robin", failing=(0,))
    early = [ticket for ticket in (model.offer() for _ in range(6)) if ticket.attempt is not None]
    early = [ticket for ticket in early if ticket.attempt is not None and ticket.attempt.replica is model.replica(0)]
    model.passes(0.25)
    while model.replica(0).accepting:
        model.serve(1)
    model.finish_well(early[0])
    assert not model.replica(0).accepting
    until_s = model.replica(0).health.until_s
    model.error(early[1])
    assert model.replica(0).health.until_s == until_s


def test_engines_that_give_up_within_streams_are_left_out_too() -> None:
    """A stream that begins well and then says that it failed counts like an error."""
    model = Model(2)
    while model.replica(0).accepting:
        ticket = model.offer()
        model.dispatcher.answers(ticket, model.now_s)
        if ticket.attempt is not None and ticket.attempt.replica is model.replica(0):
            model.dispatcher.fail(ticket, Fault.GAVE_UP, model.now_s)
        model.finish_well(ticket)
        assert model.replica(0).sent <= ERRORS_IN_A_ROW
    assert model.replica(1).accepting


def test_a_broken_connection_needs_no_answer_to_be_forgiven() -> None:
    """A replica whose connection broke is up again when the request after its pause has run for two seconds."""
    model = Model(2)
    ticket = model.offer()
    assert ticket.attempt is not None
    broken = ticket.attempt.replica
    model.dispatcher.fail(ticket, Fault.FAILED, model.now_s)
    model.passes(PAUSE_S)
    while broken.health.probe is None:
        model.offer()
    assert not broken.accepting
    model.passes(PROBE_S)
    assert broken.health.standing is Standing.UP


# --- backpressure


def test_a_busy_replica_is_left_alone_for_the_time_it_asks_for() -> None:
    """Others take its requests meanwhile; it is not blamed, and takes requests again when the time is over."""
    model = Model(2)
    first = model.offer()
    assert first.attempt is not None
    busy = first.attempt.replica
    assert model.error(first, Fault.BUSY, 3.0)
    assert first.attempt.replica is not busy
    model.passes(2.75)
    tickets = [model.offer() for _ in range(6)]
    assert all(ticket.attempt is not None and ticket.attempt.replica is not busy for ticket in tickets)
    model.passes(0.25)
    after = model.offer()
    assert after.attempt is not None
    assert after.attempt.replica is busy
    assert (busy.health.standing, busy.health.errors) == (Standing.UP, frozenset())


def test_requests_wait_where_every_replica_is_busy() -> None:
    """The answer goes to the client whose request it is; later ones wait until a replica may be asked again."""
    model = Model(1)
    assert not model.error(model.offer(), Fault.BUSY, 2.0)
    waiting = model.offer()
    assert waiting.state is RequestState.WAITING
    assert model.dispatcher.next_opening_s() == 2.0
    assert model.dispatcher.next(1.9) is None
    assert model.dispatcher.next(2.0) is waiting


@pytest.mark.parametrize(("asked_s", "alone_s"), [(None, 0.5), (0.0, 0.5), (7.0, 7.0), (86_400.0, 30.0)])
def test_a_busy_replica_is_left_alone_for_half_a_second_to_half_a_minute(asked_s: float | None, alone_s: float) -> None:
    """A time that is not told is short, and one that is told is bounded."""
    model = Model(1)
    model.error(model.offer(), Fault.BUSY, asked_s)
    assert model.offer().state is RequestState.WAITING
    assert model.dispatcher.next_opening_s() == alone_s


# --- sent again


def test_a_request_is_sent_again_once_for_errors() -> None:
    """With three replicas of which two fail, some clients see a second error, and none waits for a third answer."""
    model = Model(3, failing=(0, 1))
    ticket = model.offer()
    model.failing = {"r0", "r1", "r2"}
    model.answer(ticket)
    assert sum(model.sent.values()) == 2


def test_most_clients_are_served_where_two_of_three_fail() -> None:
    """One of the two is left out, and the other's errors are answered by the third replica, without bound."""
    model = Model(3, "round_robin", failing=(0, 1))
    for _ in range(200):
        model.serve(1)
        model.passes(0.01)
    assert model.seen.count(False) <= 10


def test_where_all_replicas_fail_few_requests_are_sent_twice() -> None:
    """A fifth of them, beyond the first ten: a defect of all replicas must not double their load."""
    model = Model(4, "round_robin", failing=(0, 1, 2, 3))
    model.serve(400)
    assert model.seen == [False] * 400
    assert sum(model.sent.values()) <= 400 * (1 + FRUITLESS_SHARE) + FRUITLESS_AT_ONCE


def test_all_requests_of_a_replica_that_fails_at_once_are_answered_by_others() -> None:
    """A hundred at the same time cost no budget, because their second answers are good."""
    model = Model(2, "round_robin")
    tickets = [model.offer() for _ in range(200)]
    model.failing = {"r0"}
    for ticket in tickets:
        model.answer(ticket)
    assert all(model.seen)


def test_no_other_replica_no_second_attempt() -> None:
    """The only replica's error is the client's, and it stays in use."""
    model = Model(1, failing=(0,))
    model.serve(20)
    assert model.sent["r0"] == 20
    assert model.replica(0).accepting


def test_nothing_is_learned_from_errors() -> None:
    """A quick error leaves rates, cached prefixes and the rate of ended requests as they were."""
    model = Model(1, "expected_ttft", failing=(0,))
    model.serve(30)
    replica = model.replica(0)
    assert (replica.rates.outcomes, replica.slots.ended) == (0, 0)


class Names:
    """Two models that both have the same two servers, r0 and r1."""

    def __init__(self) -> None:
        engines = Engines()
        self.models = {
            name: Dispatcher(name, "least_load", rng=Random(0), limits=AdmissionLimits(), engines=engines)
            for name in ("base", "lora")
        }
        for name, dispatcher in self.models.items():
            dispatcher.set_replicas([Endpoint(f"r{number}", name, "h", 1) for number in range(2)], 0.0)

    def offer(self, name: str, number: int, now_s: float) -> Ticket:
        """Offer a request for a model."""
        request = RoutingRequest(f"{number}", name, "/v1/completions", stream=False, body=b"%d" % number)
        return self.models[name].offer(request, "ann", now_s)

    def servers(self, name: str, now_s: float) -> set[str]:
        """Return the servers that six requests for a model go to."""
        tickets = [self.offer(name, number, now_s) for number in range(100, 106)]
        found = {ticket.attempt.replica.replica_id for ticket in tickets if ticket.attempt is not None}
        for ticket in tickets:
            self.models[name].finish(ticket, Outcome.OK, Usage(), now_s, is_whole=True)
        return found


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.FAILED])
def test_a_server_that_is_busy_or_breaks_off_is_left_alone_by_all_its_names(fault: Fault) -> None:
    """A 503 to one name, or a broken connection, tells of the server: its other names go elsewhere, and come back."""
    names = Names()
    assert names.servers("lora", 0.0) == {"r0", "r1"}
    ticket = names.offer("base", 1, 0.0)
    assert ticket.attempt is not None
    failed = ticket.attempt.replica.replica_id
    if fault is Fault.BUSY:
        judge = names.models["base"].judge
        assert judge.answers_error(ticket, fault, 0.0, retry_after_s=3.0, is_repeatable=True)
    names.models["base"].fail(ticket, fault, 0.0)
    assert names.servers("lora", 0.1) == {"r0", "r1"} - {failed}
    for dispatcher in names.models.values():
        dispatcher.tick(4.0)
        dispatcher.check_integrity(4.0)
    assert names.servers("base", 4.0) == {"r0", "r1"}
    assert names.servers("lora", 4.0) == {"r0", "r1"}


def test_errors_of_one_name_are_its_own() -> None:
    """A server that answers 500 to one of its names, such as a broken adapter, goes on with the others."""
    names = Names()
    for number in range(50):
        ticket = names.offer("lora", number, 0.0)
        assert ticket.attempt is not None
        if ticket.attempt.replica.replica_id == "r0":
            names.models["lora"].judge.answers_error(ticket, Fault.ERROR, 0.0, is_repeatable=False)
        names.models["lora"].finish(ticket, Outcome.OK, Usage(), 0.0)
    assert names.servers("lora", 0.1) == {"r1"}
    assert names.servers("base", 0.1) == {"r0", "r1"}
