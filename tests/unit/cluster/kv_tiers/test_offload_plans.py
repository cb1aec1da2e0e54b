"""KV cache beyond GPU memory in a plan: room on machines, what tiers hold, whether they pay, and why."""

import math
from dataclasses import replace
from typing import Any

import pytest

from cluster.errors import SpecError
from cluster.kv_tiers.machine_room import PROCESS_BYTES, replicas_on_a_machine
from cluster.kv_tiers.offload_trade import OffloadTrade
from cluster.model_shapes.known_models import known_model
from cluster.planning.answer import cautions, cluster_file_entry, plan_data
from cluster.planning.option import assess, costs, offload_trade, work_of
from cluster.planning.plan_file import PLAN_FILE, PlanFile
from cluster.planning.planner import Plan, plan
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.spec.cluster_file import from_data
from cluster.spec.model_parts.kv_cache_spec import DISK_BYTES_PER_S, HOST_BYTES_PER_S
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.sim.generation.tiers import NOTHING, SimTiers

LLAMA_8B_BYTES = 131_072
"""KV cache of a token of Llama 3.1 8B: keys and values of 8 heads of 128 in 32 layers, 2 bytes each."""
DISK = {"disk_gb": 2000, "disk_path": "/local/kv"}


def _question(model: str = "llama-3.1-8b", **keys: Any) -> PlanFile:  # noqa: ANN401 - a plan file's values
    data = {
        "model": model,
        "hardware": "h100",
        "workload": {"input_tokens": 6000, "output_tokens": 300, "requests_per_s": 40},
        "slo": {"ttft_s": 2.0, "tpot_s": 0.05},
        **keys,
    }
    return PLAN_FILE.from_data(data, "test")


def _planned(model: str = "llama-3.1-8b", **keys: Any) -> Plan:  # noqa: ANN401 - a plan file's values
    return plan(_question(model, **keys), known_model(model))


def _trade(model: str, layout: Layout, **offload: object) -> OffloadTrade:
    """Return the trade of one layout."""
    question, shape = _question(model, offload=offload, hardware="h200"), known_model(model)
    trade = offload_trade(question, shape, assess(question, shape, layout))
    assert trade is not None
    return trade


def test_tokens_are_bytes_and_seconds_are_those_of_live_replicas() -> None:
    """Host memory and files hold what fits; a token costs what the simulated engine tells gateways that it does."""
    trade = _planned(offload={"cpu_gb": 200, **DISK}).offload
    assert trade is not None
    host, files = trade.tokens.tiers
    assert (host.tokens, files.tokens) == (200e9 / LLAMA_8B_BYTES, 2000e9 / LLAMA_8B_BYTES)
    assert host.token_s == LLAMA_8B_BYTES / HOST_BYTES_PER_S
    assert files.token_s == host.token_s + LLAMA_8B_BYTES / DISK_BYTES_PER_S
    told = SimTiers(SimSpec(kv_bytes_per_token=LLAMA_8B_BYTES), NOTHING, lambda _: None).fetches.stats()
    assert math.isclose(told.s_per_token, host.token_s)


def test_what_pays_is_used_and_the_plan_says_why() -> None:
    """In words, as data, and in an entry that a cluster file takes."""
    answer = _planned(offload={"cpu_gb": 200, **DISK})
    trade = answer.offload
    assert trade is not None
    assert trade.is_used
    assert "keeps KV cache beyond the GPUs" in trade.why
    assert "host memory holds 1.53 M, of which one is fetched in 5.24 µs and computed in " in trade.why
    assert "which is sooner but takes the GPUs" in trade.why, "one drive is slower than this GPU computes"
    data = plan_data(answer)["offload"]
    assert data["tiers"]["host memory"]["tokens"] == 200e9 / LLAMA_8B_BYTES
    assert data["host_bytes_per_machine"] == 200e9 * data["replicas_per_machine"]
    (model,) = from_data({"models": [cluster_file_entry(answer)]}, "plan").models
    assert (model.kv_cache.offload.cpu_gb, model.kv_cache.offload.disk_path) == (200, "/local/kv")
    assert any(
        "memory: mount it larger" in note and f"size={200 * trade.room.replicas:.0f}G" in note
        for note in cautions(answer)
    )


def test_what_gpus_hold_anyway_brings_nothing() -> None:
    """A tier has copies of what is above it; the plan says from which size on it has more, and leaves it out."""
    answer = _planned(offload={"cpu_gb": 50})
    trade = answer.offload
    assert trade is not None
    assert not trade.is_used
    assert "does not keep" in trade.why
    least = math.ceil(trade.tokens.device_tokens * LLAMA_8B_BYTES / 1e9)
    assert "kv_cache" not in (cluster_file_entry(answer) or {})
    larger = _planned(offload={"cpu_gb": least + 1}).offload
    assert larger is not None
    assert larger.is_used
    assert not plan_data(_planned())["offload"]


def test_files_may_pay_where_host_memory_holds_too_little() -> None:
    """They do where a token takes longer to compute than one drive to read."""
    trade = _trade("llama-3.1-405b", Layout(8), cpu_gb=1, **DISK)
    best = trade.tokens.best
    assert best is not None
    assert best.name == "files"
    assert trade.is_used


def test_each_gpu_copies_its_own_part() -> None:
    """So host memory is as many times as fast; a drive reads all parts, and of latents there is one copy."""
    alone, divided = (_trade("llama-3.1-8b", Layout(size), cpu_gb=500, **DISK).tokens.tiers for size in (1, 4))
    assert math.isclose(alone[0].token_s, 4 * divided[0].token_s)
    assert alone[0].tokens == divided[0].tokens
    assert math.isclose(alone[1].token_s - alone[0].token_s, divided[1].token_s - divided[0].token_s)
    latents = known_model("deepseek-r1")
    whole = latents.attention.kv_values_on_one_gpu(8) * latents.layers * 2
    host = _trade("deepseek-r1", Layout(8, 2), cpu_gb=1800).tokens.tiers[0]
    assert math.isclose(host.tokens, 1800e9 / whole, rel_tol=0.02)  # a stage has 31 of 61 layers


def test_what_is_fetched_is_not_computed_but_waited_for() -> None:
    """The first token waits for the fetch, by the price that gateways count; prompts take so much less of the GPUs."""
    question, shape = _question(offload={"cpu_gb": 200, "hit": 0.5}), known_model("llama-3.1-8b")
    (cost,) = costs(question, shape, Layout())
    plain, fetching = (work_of(question, cost, each) for each in (None, question.offload))
    assert fetching.fetch_s == 3000 * LLAMA_8B_BYTES / HOST_BYTES_PER_S
    assert (plain.new_tokens, fetching.new_tokens) == (6000, 3000)
    steady, at_once = (cost.steady(16, work) for work in (fetching, replace(fetching, fetch_s=0.0)))
    assert math.isclose(steady.ttft_s - at_once.ttft_s, fetching.fetch_s)
    assert steady.tpot_s == at_once.tpot_s
    with_tiers, without = _planned(offload={"cpu_gb": 200, "hit": 0.5}), _planned()
    assert with_tiers.gpus < without.gpus
    assert with_tiers.offload is not None
    assert "with 50% of prompts from there " in with_tiers.offload.why


def test_what_a_machine_lacks_is_told_with_what_it_has() -> None:
    """Each size at its key, with the most that there is room for, which fits; the file may say that it has more."""
    asked = {"cpu_gb": 900, "disk_gb": 9000, "disk_path": "/local/kv"}
    trade = _planned(offload=asked).offload
    assert trade is not None
    problems = dict(trade.room.problems(trade.offload))
    free = ACCELERATORS["h100"].host_memory_bytes - 8 * PROCESS_BYTES
    assert "900 GB a replica is 7,200 GB on a machine with 8 of them" in problems["cpu_gb"]
    assert f"give at most {int(free / 8e9)}, or machine.memory_gb" in problems["cpu_gb"]
    most = [int(problems[key].rpartition("give at most ")[2].partition(",")[0]) for key in ("cpu_gb", "disk_gb")]
    fits = _planned(offload={"cpu_gb": most[0], "disk_gb": most[1], "disk_path": "/local/kv"}).offload
    larger = _planned(offload=asked, machine={"memory_gb": 8000, "disk_gb": 80000}).offload
    for each in (fits, larger):
        assert each is not None
        assert not list(each.room.problems(each.offload))


def test_a_machine_has_whole_replicas_or_a_share_of_one() -> None:
    """No more of them than there are."""
    assert [replicas_on_a_machine(8, size, 100) for size in (1, 3, 8, 16)] == [8, 2, 1, 0.5]
    assert replicas_on_a_machine(8, 1, 3) == 3


def test_a_cpu_has_one_memory() -> None:
    """What its engine takes is not there for blocks."""
    trade = _planned("smollm2-135m", hardware="cpu", offload={"cpu_gb": 600}).offload
    assert trade is not None
    assert trade.room.free_memory_bytes < 0.1 * ACCELERATORS["cpu"].memory_bytes
    assert list(trade.room.problems(trade.offload))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"offload": {"disk_gb": 9}}, ["cpu_gb is missing", "disk_path is missing"]),
        ({"offload": {"hit": 0.5}}, ["cpu_gb is missing"]),
        ({"offload": {"cpu_gb": 9, "hit": 1.5}}, ["offload.hit", "1.5 of a prompt"]),
        (
            {
                "offload": {"cpu_gb": 9, "hit": 0.5},
                "workload": {"input_tokens": 9, "output_tokens": 9, "requests_per_s": 9, "prefix_hit": 0.6},
            },
            ["offload.hit", "0.5 of a prompt below the GPUs and 0.6 on them"],
        ),
    ],
)
def test_what_does_not_fit_is_told(keys: dict[str, Any], words: list[str]) -> None:
    """As in the cluster file, and no more of a prompt is found than it has."""
    with pytest.raises(SpecError) as raised:
        _question(**keys)
    for word in words:
        assert word in str(raised.value)
