"""Models of one server under any order of events: what runs there is counted once, and none of them starves."""

from collections import Counter
from functools import partial
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.engine import Engines
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint, Presence
from router.request import RoutingRequest

MODELS = ("base", "lora", "alias")


class SharedEngineMachine(RuleBasedStateMachine):
    """Drives the dispatchers of three models that have two servers in common."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.engines = Engines()
        self.open: list[Ticket] = []

    @initialize(policy=st.sampled_from(("expected_ttft", "least_load")), most=st.integers(0, 3))
    def begin(self, policy: str, most: int) -> None:
        """Start with both servers, each with at most `most` requests; 0: the usual bound."""
        self.most = most
        self.models = {name: Dispatcher(name, policy, rng=Random(0), engines=self.engines) for name in MODELS}
        for name in MODELS:
            self.list_servers(name, {0: Presence.HERE, 1: Presence.HERE})

    def _settle(self, ticket: Ticket) -> None:
        if ticket.refusal is not None:
            self.models[ticket.request.model].finish(ticket, ticket.refusal.outcome, Usage(0, 0, 0), self.now_s)
        else:
            self.open.append(ticket)

    @rule(model=st.sampled_from(MODELS))
    def offer(self, model: str) -> None:
        """Offer a request for one of the models."""
        request = RoutingRequest("r", model, "/v1/completions", stream=True, body=b"{}")
        self._settle(self.models[model].offer(request, "t", self.now_s))

    @rule(model=st.sampled_from(MODELS))
    def next(self, model: str) -> None:
        """Ask for a model's next request."""
        ticket = self.models[model].next(self.now_s)
        if ticket is not None:
            self.open.remove(ticket)
            self._settle(ticket)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """End a request, waiting or running."""
        ticket = data.draw(st.sampled_from(self.open))
        self.models[ticket.request.model].finish(ticket, Outcome.OK, Usage(5, 0, 5), self.now_s, is_whole=True)
        self.open.remove(ticket)

    @precondition(lambda self: any(ticket.attempt for ticket in self.open))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Take a request off its replica."""
        ticket = data.draw(st.sampled_from([ticket for ticket in self.open if ticket.attempt]))
        self.open.remove(ticket)
        self.models[ticket.request.model].fail(ticket, Fault.FAILED, self.now_s)
        self._settle(ticket)

    @rule(
        model=st.sampled_from(MODELS), servers=st.dictionaries(st.integers(0, 1), st.sampled_from(Presence), max_size=2)
    )
    def list_servers(self, model: str, servers: dict[int, Presence]) -> None:
        """Set which servers have a model, and whether they can be reached."""
        rows = [
            Endpoint(f"s{number}", model, "h", number + 1, presence=presence, max_requests=self.most)
            for number, presence in servers.items()
        ]
        self.models[model].set_replicas(rows, self.now_s)

    @rule(passed_s=st.floats(0.0, 5.0))
    def tick(self, passed_s: float) -> None:
        """Let time pass."""
        self.now_s += passed_s
        for dispatcher in self.models.values():
            dispatcher.tick(self.now_s)
            refused, dispatcher.refused = dispatcher.refused, []
            for ticket in refused:
                self.open.remove(ticket)
                self._settle(ticket)

    @invariant()
    def every_request_is_counted_once_on_its_engine(self) -> None:
        """An engine has as many requests as run there, whatever their model; each model knows whether it has room."""
        if not hasattr(self, "models"):
            return
        running = Counter(ticket.attempt.replica.replica_id for ticket in self.open if ticket.attempt is not None)
        for dispatcher in self.models.values():
            dispatcher.check_integrity(self.now_s)
            for replica in dispatcher.fleet.replicas.values():
                assert replica.engine.in_flight == running[replica.replica_id]
        assert len(self.engines) <= 2


TestSharedEngine = SharedEngineMachine.TestCase
TestSharedEngine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_bound_of_a_server_is_over_all_its_models_and_each_gets_its_turn() -> None:
    """With one place and three models that want it, each in turn gets it: nobody waits for ever."""
    engines, order = Engines(), []
    models = {name: Dispatcher(name, "least_load", rng=Random(0), engines=engines) for name in MODELS}
    woken: list[str] = []
    for name, dispatcher in models.items():
        dispatcher.when_room(partial(woken.append, name))
        dispatcher.set_replicas([Endpoint("s", name, "h", 1, max_requests=1)], 0.0)
    tickets = {}
    for name in MODELS * 4:
        request = RoutingRequest("r", name, "/v1/completions", stream=True, body=b"{}")
        ticket = models[name].offer(request, "t", 0.0)
        if ticket.attempt is not None:
            tickets[name] = ticket
    for _ in range(11):
        assert len(tickets) == 1
        name, ticket = tickets.popitem()
        order.append(name)
        woken.clear()
        models[name].finish(ticket, Outcome.OK, Usage(1, 0, 1), 1.0, is_whole=True)
        for candidate in dict.fromkeys(woken):
            following = models[candidate].next(1.0)
            if following is not None:
                tickets[candidate] = following
                break
    assert {name: order.count(name) for name in MODELS} == {"base": 4, "lora": 4, "alias": 3}
    assert max(order[:6].count(name) for name in MODELS) <= 3
