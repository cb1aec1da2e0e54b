"""A simulated cluster: repeatable to the digit, no request lost, and right where the answer is known."""

import json
from typing import Any

import numpy as np
import pytest

from cluster.placement.topology import Node, Topology
from deployments.twin.arrivals import Arrival
from tests.unit.deployments.twin.small_cluster import SIM, cluster_of, finished, sim_model

LOAD = [{"rate": 8.0, "requests": 400, "prompt_tokens": 1500, "output_tokens": 60, "prefixes": 10}]


def test_the_same_seed_gives_the_same_figures_to_the_digit() -> None:
    """Two runs are equal in every figure, several gateways and a loss included; another seed is another run."""
    scenario = {"load": LOAD, "events": [{"at_s": 10.0, "lose": "rack-0-0-n0", "for_s": 10.0}]}
    texts = []
    for seed in (3, 3, 4):
        cluster = cluster_of([sim_model(12)], scenario, {"replicas": 3})
        texts.append(json.dumps(finished(cluster, seed)[1].as_dict()))
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("gateways", [1, 3])
def test_every_request_is_answered_or_refused_exactly_once(gateways: int) -> None:
    """Under more load than fits, with little room to wait: what came is what was answered and what was refused."""
    load = [{"rate": 200.0, "requests": 1500, "prompt_tokens": 4000, "output_tokens": 200}]
    model = sim_model(2, max_wait_s=2.0)
    cluster = cluster_of([model], {"load": load}, {"replicas": gateways, "max_waiting_requests": 50})
    run, found = finished(cluster)
    assert found.all.answered + sum(found.all.refused.values()) == 1500 == run.arrived
    assert found.all.refused
    assert found.all.answered > 50
    columns = run.records.columns()
    assert (columns.arrived_s <= columns.dispatched_s).all()
    assert (columns.dispatched_s <= columns.begun_s).all()
    assert (columns.begun_s < columns.first_s).all()
    assert (columns.first_s <= columns.last_s).all()


def test_a_single_server_waits_as_an_m_d_1_queue() -> None:
    """One replica that computes one prompt at a time, each in 0.1 s, at 70 % load.

    Its requests have one token, so service is one prefill. The mean wait of an M/D/1 queue is
    ρ / (2 (1 - ρ)) services: 0.7 / 0.6 × 0.1 s = 0.1167 s, so the mean TTFT is 0.2167 s.
    """  # noqa: RUF002 - the formula's own sign
    sim = {
        **SIM,
        "prefill_tokens_per_s": 10_000.0,
        "inter_token_s": 0.0,
        "inter_token_per_seq_s": 0.0,
        "max_num_seqs": 1,
    }
    load = [{"rate": 7.0, "requests": 4_000, "prompt_tokens": 1000, "output_tokens": 1, "spread": 0.0}]
    cluster = cluster_of([sim_model(1, sim=sim, policy="least_load")], {"load": load})
    _, found = finished(cluster)
    assert found.all.answered == 4_000
    assert found.all.ttft_s[0] == pytest.approx(0.2167, rel=0.08)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_burst_is_divided_evenly_among_equal_replicas(seed: int) -> None:
    """All requests at once, through three gateways: as many and as long prompts for each, so none ends much later."""
    sim = {
        **SIM,
        "prefill_tokens_per_s": 130_000.0,
        "inter_token_s": 0.02,
        "inter_token_per_seq_s": 0.00005,
        "max_num_seqs": 4096,
        "kv_blocks": 400_000,
    }
    lengths = {"prompt_tokens": 800, "spread": 0.5, "output_tokens": 600, "output_spread": 0.9, "most_tokens": 20_000}
    load = [{"shape": "offline", "requests": 8000, **lengths}]
    model = sim_model(6, sim=sim, max_wait_s=1e6)
    run, _ = finished(cluster_of([model], {"load": load}, {"replicas": 3, "max_waiting_requests": 100_000}), seed)
    columns = run.records.columns()
    requests = np.bincount(columns.replica)
    prompts = np.bincount(columns.replica, columns.prompt) / requests
    assert requests.max() <= 1.05 * requests.min()
    assert prompts.max() <= 1.08 * prompts.min()


def test_requests_that_come_apart_take_what_the_engine_takes() -> None:
    """One request a minute: 1 000 tokens at 20 000 a second and then 100 steps of 10 ms, to the digit."""
    arrivals = [Arrival(60.0 * number, "", 1000, 101, []) for number in range(10)]
    cluster = cluster_of([sim_model(1)], {})
    run, found = finished(cluster, arrivals=iter(arrivals))
    columns = run.records.columns()
    assert columns.ttft_s == pytest.approx([0.05] * 10)
    assert columns.tpot_s == pytest.approx([0.01] * 10)
    assert found.all.waits.prefill == pytest.approx(0.05)
    assert found.all.waits.room == found.all.waits.engine == found.all.waits.replica == 0.0


def test_prices_and_gpu_hours_follow_from_the_run() -> None:
    """Two replicas of four GPUs for the length of the run, at 3 USD an hour."""
    model = sim_model(2, parallel={"tensor": 4})
    cluster = cluster_of([model], {"load": LOAD, "gpu_hour": 3.0, "ttft_s": 0.5})
    run, found = finished(cluster)
    assert found.gpu_hours == pytest.approx(8 * run.ended_s / 3600)
    assert found.cost == pytest.approx(3.0 * found.gpu_hours)
    assert found.per_million == pytest.approx(found.cost / (found.all.prompt_tokens + found.all.output_tokens) * 1e6)
    assert found.all.in_time is not None
    assert 0.9 < found.all.in_time <= 1.0


def test_a_prefix_that_is_shared_is_computed_once_where_it_is_kept() -> None:
    """One conversation's beginning of 4 096 tokens, asked for again: all its full blocks are cached."""
    blocks = list(range(1, 9))
    arrivals = [Arrival(10.0 * number, "", 4100, 5, list(blocks)) for number in range(5)]
    run, _ = finished(cluster_of([sim_model(2)], {}), arrivals=iter(arrivals))
    assert run.records.columns().cached.tolist() == [0, 4096, 4096, 4096, 4096]


def _loss(**event: Any) -> tuple[Any, Any]:  # noqa: ANN401 - a run and its answer
    scenario = {"load": LOAD, "events": [event] if event else []}
    return finished(cluster_of([sim_model(12)], scenario))


def test_a_lost_node_sends_its_requests_elsewhere_and_its_replicas_come_back() -> None:
    """Eight of twelve replicas go with their node at 20 s: all requests are answered, and new ones start later."""
    run, found = _loss(at_s=20.0, lose="rack-0-0-n0", for_s=5.0)
    _, calm = _loss()
    assert found.replicas_lost == 8
    assert found.resent > 0
    assert calm.resent == 0
    assert found.all.answered == 400
    assert found.unplaced_s > 0.0  # they waited for the node
    assert max(moment.starting for moment in run.timeline.moments) == 8
    assert run.timeline.moments[-1].ready == 12
    assert found.all.latency_s[0] > calm.all.latency_s[0]


def test_an_update_replaces_all_replicas_and_loses_no_request() -> None:
    """New replicas have other names, and take the places of the old ones one after the other."""
    run, found = finished(cluster_of([sim_model(4)], {"load": LOAD, "events": [{"at_s": 5.0, "update": "chat"}]}))
    assert found.all.answered == 400
    assert found.resent == 0
    names = [member.name for member in run.fleet.members.values()]
    assert len(names) == 4
    assert not set(names) & {f"chat-{number:05d}" for number in range(4)}


def test_replicas_are_added_under_load_and_take_their_time_to_start() -> None:
    """A model of 1 to 6 replicas under more than one replica's load: they are ordered, start, and cut the waits."""
    load = [{"rate": 30.0, "seconds": 120.0, "prompt_tokens": 2000, "output_tokens": 100}]
    run, found = finished(cluster_of([sim_model({"min": 1, "max": 6})], {"load": load}))
    assert max(moment.ready for moment in run.timeline.moments) > 1
    assert any("replicas" in what for _, what in found.marks)
    assert found.gpus < 6.0


def test_tenants_get_what_their_weights_say_while_requests_wait() -> None:
    """Two tenants that ask for equally much, one with four times the weight: far more of its requests are answered."""
    tenants = [
        {"name": "large", "key_sha256": "a" * 64, "weight": 4.0},
        {"name": "small", "key_sha256": "b" * 64, "weight": 1.0},
    ]
    load = [{
        "rate": 60.0, "seconds": 60.0, "prompt_tokens": 2000, "output_tokens": 100,
        "tenants": {"large": 1.0, "small": 1.0},
    }]  # fmt: skip
    _, found = finished(cluster_of([sim_model(2)], {"load": load}, {"tenants": tenants}))
    large, small = found.tenants["large"], found.tenants["small"]
    assert large.requests + small.requests == found.all.requests
    assert large.answered > 2 * small.answered > 0


def test_prompts_are_computed_in_one_pool_and_answered_in_another() -> None:
    """Long prompts, short answers: some are fetched from prefill replicas, their waits say so, and none is lost.

    Whether a request is divided is the live dispatcher's decision; a lost prefill replica changes nothing for clients.
    """
    pools = [
        {"name": "prefill", "role": "prefill", "replicas": 2},
        {"name": "decode", "role": "decode", "replicas": 2},
    ]
    load = [{"rate": 6.0, "requests": 200, "prompt_tokens": 6000, "output_tokens": 100, "spread": 0.3}]
    model = sim_model(1, pools=pools)
    run, found = finished(cluster_of([model], {"load": load}))
    assert found.all.answered == 200
    assert found.all.waits.transfer > 0.0
    assert sum(member.engine.kv.used for member in run.fleet.members.values()) == 0
    event = {"at_s": 10.0, "lose": "rack-0-0-n0", "for_s": 10.0}
    _, lossy = finished(cluster_of([model], {"load": load, "events": [event]}))
    assert lossy.all.answered == 200
    assert lossy.replicas_lost == 4  # one machine has all of them


def test_adapters_are_loaded_where_they_are_asked_for() -> None:
    """Six adapters on two replicas of two slots: they are loaded again and again, but not for each request."""
    names = [f"a{number}" for number in range(6)]
    model = sim_model(2, adapters=[{"name": name, "source": f"/x/{name}"} for name in names], adapter_slots=2)
    load = [{"model": name, "rate": 0.5, "requests": 30, "prompt_tokens": 500, "output_tokens": 20} for name in names]
    _, found = finished(cluster_of([model], {"load": load}))
    assert found.all.answered == 180
    assert 6 <= found.adapter_loads < 180


def test_several_gateways_with_old_views_share_a_replica_less_well() -> None:
    """The same load through four gateways, each of which hears of the others' requests only by reports."""
    load = [{"rate": 24.0, "requests": 600, "prompt_tokens": 3000, "output_tokens": 20, "spread": 0.2}]
    (_, one), (_, four) = (
        finished(cluster_of([sim_model(6)], {"load": load, "report_every_s": 2.0}, {"replicas": count}))
        for count in (1, 4)
    )
    assert four.all.answered == one.all.answered == 600
    assert four.all.ttft_s[0] > one.all.ttft_s[0]


def test_a_request_that_no_engine_has_room_for_is_refused_at_once() -> None:
    """A KV cache of 131 072 tokens and a prompt of 140 000: an engine answers 400, and would never begin."""
    arrivals = [Arrival(0.0, "", 140_000, 10, []), Arrival(1.0, "", 1000, 10, [])]
    _, found = finished(cluster_of([sim_model(1)], {}), arrivals=iter(arrivals))
    assert found.all.answered == 1
    assert found.all.refused == {"bad_request": 1}


def test_a_spare_machine_takes_the_replicas_of_a_lost_one_at_once() -> None:
    """Three machines of four GPUs in one domain, one of them spare: gangs that lost theirs start there, and wait none.

    Without a spare machine they wait until the lost one is back.
    """
    nodes = [Node(f"n{number}", "rack", "rack", 4) for number in range(3)]
    model = sim_model(4, parallel={"tensor": 2})
    scenario = {"load": LOAD, "events": [{"at_s": 10.0, "lose": "n0", "for_s": 20.0}]}
    _, spare = finished(cluster_of([model], scenario, topology=Topology.of(nodes), spares=1))
    _, none = finished(cluster_of([model], scenario, topology=Topology.of(nodes[:2]), spares=0))
    assert spare.replicas_lost == none.replicas_lost == 2
    assert spare.unplaced_s == 0.0
    assert none.unplaced_s == pytest.approx(2 * 20.0, abs=2.1)


def test_a_tenants_limit_holds_for_all_gateways_together() -> None:
    """60 requests a minute and three times as many asked for: as many come through four gateways as through one."""
    tenants = [{"name": "t", "key_sha256": "a" * 64, "requests_per_minute": 60.0}]
    load = [{"rate": 3.0, "seconds": 200.0, "prompt_tokens": 200, "output_tokens": 5, "tenants": {"t": 1.0}}]
    answered = []
    for count in (1, 4):
        gateway = {"tenants": tenants, "replicas": count}
        _, found = finished(cluster_of([sim_model(2)], {"load": load}, gateway))
        assert set(found.all.refused) == {"rate_limited"}
        answered.append(found.all.answered)
    assert answered[0] == pytest.approx(200 + 10, abs=5)  # one a second, and ten at once at the start
    assert answered[1] == pytest.approx(answered[0], rel=0.1)
