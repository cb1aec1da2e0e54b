"""Plans of models that answer once a prompt is computed: embeddings, classes, scores."""

import math
from typing import Any

import pytest

from cluster.errors import SpecError
from cluster.model_shapes.known_models import known_model
from cluster.planning.answer import cautions, cluster_file_entry, plan_data
from cluster.planning.option import costs
from cluster.planning.plan_file import PLAN_FILE, PlanFile
from cluster.planning.planner import Plan, plan
from cluster.planning.pooling import pooled
from cluster.replica_cost.prompt_queue import busy_s, prompt_s
from cluster.spec.cluster_file import from_data


def _question(**changes: Any) -> PlanFile:  # noqa: ANN401 - a plan file's values
    data = {
        "model": "qwen3-32b",
        "hardware": "h100",
        "task": "embed",
        "workload": {"input_tokens": 512, "requests_per_s": 300},
        "slo": {"ttft_s": 0.5},
        "price": {"gpu_hour": 3.6},
    }
    return PLAN_FILE.from_data({**data, **changes}, "test")


def _plan(**changes: Any) -> Plan:  # noqa: ANN401 - as above
    return plan(_question(**changes), known_model("qwen3-32b"))


def test_a_plan_has_replicas_for_the_rate_of_prompts() -> None:
    """As many as the queue's formula wants at 80 % of what each serves within the SLO; answers come in time."""
    answer = _plan()
    best, expected = answer.best, answer.expected
    assert best is not None
    assert best.steady is not None
    assert expected is not None
    assert best.replicas == math.ceil(300 / (0.8 * best.steady.requests_per_s))
    assert best.steady.ttft_s == pytest.approx(0.5)
    assert expected.requests_per_s == pytest.approx(300 / best.replicas)
    assert 0.02 < expected.ttft_s < 0.5
    cost = next(each for each in costs(answer.question, answer.model, best.layout))
    work = answer.question.workload.work
    assert 0.5 < best.steady.requests_per_s * busy_s(cost, work) < 1
    assert pooled(cost, work, answer.question.slo, 1e-9).ttft_s == pytest.approx(
        prompt_s(cost, work) + cost.coefficients.first_token_s
    )
    assert answer.cost_per_million_tokens == pytest.approx(best.gpus * 1e-3 / (300 * 512) * 1e6)
    assert answer.cost_per_million_output_tokens is None
    assert answer.apart is None
    assert not cautions(answer)
    assert plan_data(answer)["question"]["task"] == "embed"


def test_a_share_within_the_slo_takes_more_replicas() -> None:
    """A wait that 99 of 100 do not exceed is longer than the mean; prompts of different lengths make it longer yet."""
    mean, most = _plan(), _plan(slo={"ttft_s": 0.5, "share": 0.99})
    uneven = {"input_tokens": 512, "requests_per_s": 300, "input_spread": 2.0}
    assert mean.gpus < most.gpus < _plan(slo={"ttft_s": 0.5, "share": 0.99}, workload=uneven).gpus


def test_what_no_replica_can_do_in_time_is_said() -> None:
    """One prompt alone takes longer."""
    answer = _plan(slo={"ttft_s": 0.001})
    assert answer.gpus == 0
    assert any(each.why_lost.startswith("an answer takes 0.0") for each in answer.others)
    assert cluster_file_entry(answer) is None


def test_the_cluster_file_says_the_task() -> None:
    """The entry is a valid one, promises prompts a second alone, and bounds no batch."""
    entry = cluster_file_entry(_plan())
    assert entry is not None
    assert entry["task"] == "embed"
    assert entry["slo"] == {"ttft_s": 0.5}
    assert entry["planned"].keys() == {"prefill_tokens_per_s", "kv_tokens"}
    assert "max_num_seqs" not in entry["engine_args"]
    spec = from_data({"models": [entry]}, "test")
    assert spec.models[0].served_task == "embed"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workload": {"input_tokens": 9, "requests_per_s": 1, "output_tokens": 5}}, "says nothing of task: embed"),
        ({"slo": {"ttft_s": 1, "tpot_s": 0.1}}, "slo.tpot_s: says nothing of task: embed"),
        ({"task": "generate"}, "workload.output_tokens: missing: a model that generates needs it"),
        ({"speculative": {"method": "ngram", "tokens": 2, "acceptance": 0.5}}, "no tokens that could be drafted"),
        ({"task": "chat"}, "task"),
    ],
)
def test_keys_that_do_not_fit_the_task_are_refused(changes: dict[str, Any], said: str) -> None:
    """With the key, and what would be right."""
    with pytest.raises(SpecError, match=said):
        _question(**changes)
