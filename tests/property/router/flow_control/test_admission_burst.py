"""A burst of 10 000 requests on 4 simulated replicas in virtual time, admitted by the same code as in a gateway."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.simulator.autoscaled_fleet import FleetResult, FleetSettings, run_fleet
from deployments.simulator.fixed_fleet import FixedFleet
from deployments.simulator.loads import SimRequest, Sizes
from router.flow_control.limits import AdmissionLimits, TenantLimits
from router.flow_control.priority import Priority
from router.flow_control.work import work_of

REQUESTS = 10_000
REPLICAS = 4
SETTINGS = FleetSettings(
    engine=SimSpec(), first_replicas=REPLICAS, limits=AdmissionLimits(max_wait_s=1e6), sample_every_s=1.0
)


def burst(tenants: dict[str, float], priorities: dict[Priority, float], seed: int = 0) -> list[SimRequest]:
    """Draw requests within one second, of tenants and classes by their shares; the last tenant's are longer."""
    rng = Random(seed)
    names, classes = list(tenants), list(priorities)
    requests = []
    for number in range(REQUESTS):
        tenant = rng.choices(names, list(tenants.values()))[0]
        sizes = Sizes(800.0, 120.0) if tenant != names[-1] else Sizes(2_400.0, 360.0)
        priority = rng.choices(classes, list(priorities.values()))[0]
        requests.append(SimRequest(number / REQUESTS, *sizes.draw(rng), tenant, priority))
    return requests


def run(requests: list[SimRequest], settings: FleetSettings = SETTINGS) -> FleetResult:
    """Run requests on the four replicas."""
    return run_fleet(requests, FixedFleet(REPLICAS), settings)


def jain(values: list[float]) -> float:
    """Return Jain's fairness index: 1 if all values are equal, 1/n if one of n has all."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def quantile(values: list[float], share: float) -> float:
    """Return the value that is not exceeded by `share` of the values."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def test_nothing_is_lost_and_nothing_is_served_twice() -> None:
    """Every request of the burst is sent once and answered once."""
    requests = burst({"ann": 1.0, "bob": 1.0}, {Priority.NORMAL: 1.0})
    result = run(requests)
    sent = Counter(id(request) for request, _, _ in result.waits_s)
    assert sent == Counter(id(request) for request in requests)
    assert len(result.ttfts_s) == REQUESTS
    assert not result.refused


def test_equal_tenants_get_equal_work() -> None:
    """Tenants of equal weight get about equal work, by Jain's index, though one sends more requests, or longer ones."""
    requests = burst({"ann": 4.0, "bob": 3.0, "cid": 2.0, "dee": 2.0, "eve": 1.5}, {Priority.NORMAL: 1.0})
    result = run(requests)
    last_sent_s = {request.tenant: 0.0 for request in requests}
    for request, _, sent_s in result.waits_s:
        last_sent_s[request.tenant] = max(last_sent_s[request.tenant], sent_s)
    # Their shares are equal only while all of them wait.
    until_s = min(last_sent_s.values())
    served = dict.fromkeys(last_sent_s, 0.0)
    for request, _, sent_s in result.waits_s:
        if sent_s <= until_s:
            served[request.tenant] += work_of(request.prompt_tokens, request.output_tokens)
    assert until_s > 10.0
    assert jain(list(served.values())) >= 0.98


def test_weights_divide_the_work() -> None:
    """A tenant of weight 3 gets three times the work of one of weight 1 while both wait, of requests that are alike.

    Of others, the cost is divided: `tests/property/router/dispatch/test_tenant_cost.py`.
    """
    limits = replace(SETTINGS.limits, tenants={"bob": TenantLimits(weight=3.0)})
    alike = {"ann": 1.0, "bob": 1.0, "nobody": 0.0}
    result = run(burst(alike, {Priority.NORMAL: 1.0}), replace(SETTINGS, limits=limits))
    served = {"ann": 0.0, "bob": 0.0}
    for request, _, _ in result.waits_s[REQUESTS // 10 : REQUESTS // 3]:
        served[request.tenant] += work_of(request.prompt_tokens, request.output_tokens)
    assert served["bob"] / served["ann"] == pytest.approx(3.0, rel=0.15)


def test_urgent_requests_hardly_wait_and_others_do_not_starve() -> None:
    """At p99 high priority waits at most a fifth as long as low; low is served all the time, not only at the end."""
    shares = {Priority.HIGH: 1.0, Priority.NORMAL: 4.0, Priority.LOW: 5.0}
    result = run(burst({"ann": 1.0, "bob": 1.0}, shares))
    waits_s: dict[Priority, list[float]] = {priority: [] for priority in Priority}
    sent_s: dict[Priority, list[float]] = {priority: [] for priority in Priority}
    for request, wait_s, at_s in result.waits_s:
        waits_s[request.priority].append(wait_s)
        sent_s[request.priority].append(at_s)
    assert quantile(waits_s[Priority.HIGH], 0.99) <= 0.2 * quantile(waits_s[Priority.LOW], 0.99)
    assert quantile(waits_s[Priority.HIGH], 0.99) < quantile(waits_s[Priority.NORMAL], 0.5)
    # After `ageing_s` of waiting, low gets every tenth turn, whatever waits above it.
    normal_done_s = max(sent_s[Priority.NORMAL])
    served_meanwhile = sum(SETTINGS.limits.ageing_s < at_s < normal_done_s for at_s in sent_s[Priority.LOW])
    assert served_meanwhile >= 0.05 * sum(at_s < normal_done_s for _, _, at_s in result.waits_s)


def test_memory_is_bounded_and_the_rest_is_refused() -> None:
    """With room for 2 000 requests no more ever wait; each of the others is served or refused as `queue_full`."""
    result = run(burst({"ann": 1.0, "bob": 1.0}, {Priority.NORMAL: 1.0}), replace(SETTINGS, room=2_000))
    assert max(moment.waiting for moment in result.timeline) <= 2_000
    assert set(result.refused) == {"queue_full"}
    assert len(result.ttfts_s) + result.refused["queue_full"] == REQUESTS
    assert len(result.ttfts_s) >= 2_000


def test_what_cannot_be_served_in_time_is_refused_at_once() -> None:
    """When requests come faster than they can be served, none waits longer than its bound plus one decision."""
    rng = Random(0)
    sizes = Sizes(800.0, 120.0)
    requests = [SimRequest(number / 250.0, *sizes.draw(rng)) for number in range(20_000)]
    limits = AdmissionLimits(max_wait_s=5.0)
    result = run(requests, replace(SETTINGS, limits=limits))
    assert max(wait_s for _, wait_s, _ in result.waits_s) <= 5.0 + SETTINGS.decide_every_s
    assert set(result.refused) == {"deadline"}
    late = [wait_s for request, wait_s, _ in result.waits_s if request.at_s > 20.0]
    # Refusal is by the real drain rate, so requests that are let in wait long, but are served in time.
    assert quantile(late, 0.5) >= 2.5
