"""What was promised of a replica: as planned, as foreseen, or nothing."""

from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.replica.own_promise import own_promise
from router.replicas.plan_promise import PlanPromise

R1 = {"source": "deepseek-ai/DeepSeek-R1", "parallel": {"tensor": 8}, "engine_args": {"max_num_seqs": 256}}


def promise_of(**model: Any) -> PlanPromise | None:  # noqa: ANN401 - spec values
    """Return what is promised of a replica of a model's first pool."""
    return own_promise(ModelSpec.model_validate({"name": "m", **model}).in_pools()[0])


def test_a_replica_without_a_plan_on_unknown_hardware_is_promised_nothing() -> None:
    """No accelerator, one that nobody knows, an unknown model, a simulated engine, drafts: nothing is guessed."""
    assert promise_of(source="deepseek-ai/DeepSeek-R1", parallel={"tensor": 8}) is None
    assert promise_of(**R1, accelerator="TPU-v9") is None
    assert promise_of(source="somebody/something", accelerator="H100") is None
    assert promise_of(engine="sim", accelerator="H100") is None
    assert promise_of(**R1, accelerator="GB300", speculative={"method": "mtp"}) is None


def test_known_gpus_and_a_known_model_are_foreseen() -> None:
    """Larger GPUs promise more tokens a second and a larger KV cache. How long a start takes is not foreseen."""
    older = promise_of(**R1, accelerator="NVIDIA-H200")
    newer = promise_of(**R1, accelerator="GB300")
    assert older is not None
    assert newer is not None
    assert older.sequences == newer.sequences == 256
    assert 1e4 < older.prefill_tokens_per_s < newer.prefill_tokens_per_s < 1e5
    assert 1e5 < older.kv_tokens < newer.kv_tokens < 1e7
    # Its steps are as slow as they can be: with a KV cache three times as large, full.
    assert 1e3 < newer.decode_tokens_per_s < 1e5
    assert newer.start_s == 0


@pytest.mark.parametrize(("role", "prefills", "decodes"), [("prefill", True, False), ("decode", False, True)])
def test_a_pool_is_promised_what_it_does(role: str, prefills: bool, decodes: bool) -> None:  # noqa: FBT001 - a table
    """Prefill pools generate nothing and decode pools compute no prompts."""
    pools = [{"name": "a", "role": role}, {"name": "b", "role": "both"}]
    found = promise_of(**R1, accelerator="GB300", pools=pools)
    assert found is not None
    assert (found.prefill_tokens_per_s > 0, found.decode_tokens_per_s > 0) == (prefills, decodes)


def test_what_was_planned_wins_over_what_is_foreseen() -> None:
    """A planned rate holds for the plan's batch, so no other rate is foreseen beside it; the KV cache is."""
    foreseen = promise_of(**R1, accelerator="GB300")
    assert foreseen is not None
    planned = {"decode_tokens_per_s": 900, "sequences": 32, "start_s": 300}
    found = promise_of(**R1, accelerator="GB300", planned=planned)
    assert found == PlanPromise(0.0, 900.0, 32.0, foreseen.kv_tokens, 300.0)
    assert promise_of(engine="sim", planned=planned) == PlanPromise(0.0, 900.0, 32.0, 0.0, 300.0)
    assert promise_of(engine="sim", planned={"sequences": 32}) is None
