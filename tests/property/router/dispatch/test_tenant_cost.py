"""Tenants share the engines' real time and memory by weight, whatever their prompts are and however much is cached."""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from deployments.engines.rates import BusyRate
from deployments.engines.step_meter import AnswersBeside, StepMeter
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits, TenantLimits
from router.flow_control.queued_request import RequestState
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

PREFILL_PER_S = 20_000.0
KV_TOKENS = 200_000
STEP_TOKENS = 2048
WARM_UP_S, MEASURED_S = 100.0, 400.0
BACKLOG = 8
IDLE_S = 0.01
"""Seconds until an idle engine is looked at again."""


@dataclass
class Load:
    """What a tenant asks for.

    Attributes:
        prompt: tokens of each prompt.
        cached: those of them that are cached.
        output: mean tokens of each answer.
        weight: the tenant's weight.
    """

    prompt: int
    cached: int
    output: int
    weight: float = 1.0


@dataclass
class Running:
    """A request in the engine."""

    ticket: Ticket
    load: Load
    output: int
    to_prefill: int
    made: int = 0

    @property
    def context(self) -> int:
        """Tokens of KV cache that it takes, with those that its answer is yet to take."""
        return self.load.prompt + self.output


@dataclass
class Engine:
    """An engine in virtual time, which writes down what of its time and memory each tenant has had."""

    had: dict[str, float] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    waiting: list[Running] = field(default_factory=list)
    prefill: BusyRate = field(default_factory=BusyRate)
    decode: BusyRate = field(default_factory=BusyRate)
    steps: StepMeter = field(default_factory=StepMeter)
    accepted: int = 0

    def take(self, request: Running) -> None:
        """Take a request; it waits until the KV cache has room for it."""
        self.waiting.append(request)
        self.accepted += 1

    def held(self) -> int:
        """Return the tokens of KV cache in use."""
        return sum(each.context for each in self.running)

    def step(self) -> tuple[float, list[Running]]:
        """Run one step; return its seconds, 0 where there is nothing to do, and the requests that end with it."""
        while self.waiting and self.held() + self.waiting[0].context <= KV_TOKENS:
            self.running.append(self.waiting.pop(0))
        budget, prefilled, decoding = STEP_TOKENS, [], [each for each in self.running if not each.to_prefill]
        for each in self.running:
            tokens = min(each.to_prefill, budget)
            if tokens:
                budget -= tokens
                prefilled.append((each, tokens))
        decode_s = 0.012 + 0.0004 * len(decoding) if decoding else 0.0
        step_s = (STEP_TOKENS - budget) / PREFILL_PER_S + decode_s
        for each, tokens in prefilled:
            each.to_prefill -= tokens
            each.made += not each.to_prefill
            self._charge(each, tokens / PREFILL_PER_S)
        for each in decoding:
            each.made += 1
            self._charge(each, decode_s / len(decoding))
        for each in self.running:
            self._charge(each, each.context / KV_TOKENS * step_s)
        if decoding:
            self.decode.observe(len(decoding), step_s)
            if not prefilled:
                self.steps.decoded(len(decoding), len(decoding), step_s)
        if prefilled:
            self.prefill.observe(STEP_TOKENS - budget, step_s)
            self.steps.prefilled(STEP_TOKENS - budget, 1, step_s, AnswersBeside(min(len(decoding), 1), len(decoding)))
        ended = [each for each in self.running if each.made >= each.output]
        self.running = [each for each in self.running if each.made < each.output]
        return step_s, ended

    def report(self, sequence: int) -> LoadReport:
        """Return a load report."""
        return LoadReport(
            sequence,
            len(self.running),
            len(self.waiting),
            sum(each.to_prefill for each in (*self.running, *self.waiting)),
            self.held() / KV_TOKENS,
            KV_TOKENS,
            self.prefill.per_s,
            self.decode.per_s,
            step_tokens=STEP_TOKENS,
            accepted=self.accepted,
            gateways=1,
            steps=self.steps.report(),
        )

    def _charge(self, each: Running, seconds: float) -> None:
        tenant = each.ticket.tenant
        self.had[tenant] = self.had.get(tenant, 0.0) + seconds


class Cluster:
    """One replica that never has too little to do, behind the live dispatcher.

    Args:
        loads: what each tenant asks for.
        seed: draws lengths.
        silent_s: until when the replica reports nothing, so that prices are not known.
        backlog: requests of each tenant that wait.
    """

    def __init__(self, loads: dict[str, Load], seed: int, silent_s: float = 0.0, backlog: int = BACKLOG) -> None:
        self.silent_s, self.backlog = silent_s, backlog
        tenants = {name: TenantLimits(weight=load.weight) for name, load in loads.items()}
        limits = AdmissionLimits(max_wait_s=1e9, tenants=tenants)
        self.dispatcher = Dispatcher("m", "round_robin", rng=Random(seed), limits=limits)
        self.dispatcher.set_replicas([Endpoint("r", "m", "h", 1, max_requests=24)], 0.0)
        self.engine, self.loads, self.rng = Engine(), loads, Random(seed)
        self.now_s, self.reports, self.idle_s = 0.0, 0, 0.0
        self.waiting = dict.fromkeys(loads, 0)
        self.longest_wait_s = dict.fromkeys(loads, 0.0)

    def run(self, until_s: float) -> None:
        """Run until then; the engine works all the time."""
        while self.now_s < until_s:
            self._fill()
            while (ticket := self.dispatcher.next(self.now_s)) is not None:
                self._start(ticket)
            step_s, ended = self.engine.step()
            if not step_s:
                step_s = IDLE_S
                self.idle_s += step_s
            self.now_s += step_s
            for each in self.engine.running:
                if each.made == 1:
                    self.dispatcher.first_token(each.ticket, self.now_s)
            for each in ended:
                usage = Usage(each.load.prompt, each.load.cached, each.output)
                self.dispatcher.finish(each.ticket, Outcome.OK, usage, self.now_s, is_whole=True)
            self.reports += 1
            if (not self.reports % 8 or step_s == IDLE_S) and self.now_s >= self.silent_s:
                self.dispatcher.report("r", self.engine.report(self.reports), self.now_s)
                self.dispatcher.tick(self.now_s)

    def _fill(self) -> None:
        for name, load in self.loads.items():
            while self.waiting[name] < self.backlog:
                body = b"x" * (4 * load.prompt)
                request = RoutingRequest("id", "m", "/v1/completions", stream=True, body=body)
                ticket = self.dispatcher.offer(request, name, self.now_s)
                self.waiting[name] += 1
                if ticket.state is RequestState.DISPATCHED:
                    self._start(ticket)

    def _start(self, ticket: Ticket) -> None:
        name = ticket.tenant
        load = self.loads[name]
        self.waiting[name] -= 1
        self.longest_wait_s[name] = max(self.longest_wait_s[name], self.now_s - ticket.arrived_s)
        output = max(1, round(load.output * self.rng.uniform(0.5, 1.5)))
        self.engine.take(Running(ticket, load, output, load.prompt - load.cached))


def shares(loads: dict[str, Load], seed: int) -> tuple[dict[str, float], Cluster]:
    """Return what each tenant has had for its weight, engine-seconds, after things have settled."""
    cluster = Cluster(loads, seed)
    cluster.run(WARM_UP_S)
    before = dict(cluster.engine.had)
    cluster.run(WARM_UP_S + MEASURED_S)
    had = {name: (cluster.engine.had[name] - before[name]) / load.weight for name, load in loads.items()}
    return had, cluster


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    cached=st.builds(
        lambda prompt, share, output: Load(prompt, int(prompt * share), output),
        st.integers(4_000, 24_000),
        st.floats(0.8, 0.99),
        st.integers(20, 300),
    ),
    uncached=st.builds(Load, st.integers(500, 12_000), st.just(0), st.integers(20, 300)),
    weight=st.sampled_from([1.0, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_cached_and_uncached_prompts_cost_what_they_cost_the_engine(
    cached: Load, uncached: Load, weight: float, seed: int
) -> None:
    """Long cached prompts take memory, uncached ones time: both tenants get their share of the sum; none starves."""
    uncached.weight = weight
    had, cluster = shares({"cached": cached, "uncached": uncached}, seed)
    assert had["cached"] == pytest.approx(had["uncached"], rel=0.1)
    assert cluster.idle_s < 0.02 * (WARM_UP_S + MEASURED_S)
    assert max(cluster.longest_wait_s.values()) < MEASURED_S / 2
    cluster.dispatcher.check_integrity(cluster.now_s)


@pytest.mark.parametrize("backlog", [BACKLOG, 300])
def test_prices_that_were_wrong_at_first_are_put_right(backlog: int) -> None:
    """For 20 s nobody knows a price, and one tenant has nearly everything; from the first report on that is made good.

    All that waits came at the wrong prices, and all that runs was charged at them.
    """
    loads = {"cached": Load(16_000, 15_000, 200), "uncached": Load(4_000, 0, 40)}
    cluster = Cluster(loads, 3, silent_s=20.0, backlog=backlog)
    cluster.run(20.0)
    had = dict(cluster.engine.had)
    assert had["cached"] > 5 * had["uncached"]
    cluster.run(100.0)
    before = dict(cluster.engine.had)
    cluster.run(500.0)
    had = cluster.engine.had
    assert had["cached"] == pytest.approx(had["uncached"], rel=0.1)
    later = {name: had[name] - before[name] for name in loads}
    assert later["cached"] == pytest.approx(later["uncached"], rel=0.1)
    cluster.dispatcher.check_integrity(cluster.now_s)


def test_a_tenant_alone_has_the_whole_engine() -> None:
    """Nothing is kept for tenants that ask for nothing; one that comes later pays nothing for that time."""
    load = Load(2_000, 0, 100)
    had, cluster = shares({"ann": load}, 1)
    assert had["ann"] >= MEASURED_S  # its time alone; its memory is counted too
    cluster.loads["bob"] = Load(2_000, 0, 100)
    cluster.waiting["bob"] = 0
    cluster.longest_wait_s["bob"] = 0.0
    before = dict(cluster.engine.had)
    cluster.run(cluster.now_s + MEASURED_S)
    assert cluster.engine.had["bob"] == pytest.approx(cluster.engine.had["ann"] - before["ann"], rel=0.1)
