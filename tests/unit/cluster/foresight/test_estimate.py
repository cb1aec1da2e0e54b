"""What is foreseen, asked by names."""

from typing import Any

import pytest

from cluster.errors import ModelShapeError
from cluster.foresight.estimate import foresee
from cluster.foresight.hub_models import hub_model
from cluster.foresight.serving_point import Workers, serving_point
from cluster.replica_cost.layout import Layout

CHAT: dict[str, Any] = {"input_tokens": 1024, "output_tokens": 1024}


def test_a_forecast_has_intervals_and_the_gpus() -> None:
    """Each number lies within its interval, and tokens a second are of each GPU."""
    found = foresee(serving_point("openai/gpt-oss-120b", "gb300", layout=Layout(tensor=2), concurrency=64, **CHAT))
    assert found.gpus == 2
    for each in (found.tokens_per_s_per_gpu, found.tpot_s, found.ttft_s):
        assert 0 < each.low < each.value < each.high
        assert each.holds(each.value)
    answer_s = found.ttft_s.value + 1023 * found.tpot_s.value
    assert found.tokens_per_s_per_gpu.value == pytest.approx(64 * 1024 / answer_s / 2)


def test_more_requests_at_once_serve_more_and_wait_longer() -> None:
    """Throughput, TPOT and TTFT all rise with the concurrency, while the cache has room."""
    few, many = (
        foresee(
            serving_point(
                "deepseek-ai/DeepSeek-R1", "gb300", layout=Layout(8), precision="fp4", concurrency=number, **CHAT
            )
        )
        for number in (8, 128)
    )
    assert many.tokens_per_s_per_gpu.value > few.tokens_per_s_per_gpu.value
    assert many.tpot_s.value > few.tpot_s.value
    assert many.ttft_s.value > few.ttft_s.value


def test_prefill_apart_leaves_the_answers_alone() -> None:
    """With replicas for prompts, answers come faster, and twice as many of them shorten the wait."""
    whole = Layout(tensor=4)
    common: dict[str, Any] = {"precision": "fp4", "concurrency": 128, "input_tokens": 8192, "output_tokens": 512}
    both = foresee(serving_point("deepseek-ai/DeepSeek-R1", "gb200", layout=whole, **common))
    one, two = (
        foresee(
            serving_point(
                "deepseek-ai/DeepSeek-R1", "gb200", prefill=Workers(whole, count), decode=Workers(whole), **common
            )
        )
        for count in (1, 2)
    )
    assert one.tpot_s.value < both.tpot_s.value
    assert two.ttft_s.value < one.ttft_s.value
    assert (one.gpus, two.gpus) == (8, 12)


def test_models_are_found_by_their_ids() -> None:
    """The id's ending names the precision; a parsed config.json will do as well."""
    assert hub_model("nvidia/DeepSeek-R1-NVFP4").weight_precision.name == "nvfp4"
    assert hub_model("meta-llama/Llama-3.3-70B-Instruct").parameters == pytest.approx(70.6e9, rel=0.01)
    config = {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "vocab_size": 128256,
    }
    by_config, by_id = (
        foresee(serving_point(model, "h100_sxm", layout=Layout(), concurrency=8, **CHAT))
        for model in (config, "meta-llama/Llama-3.1-8B-Instruct")
    )
    assert by_config.tpot_s.value == pytest.approx(by_id.tpot_s.value)


def test_what_is_unknown_is_refused() -> None:
    """Models, accelerators, formats, and a point without a layout."""
    with pytest.raises(ModelShapeError, match="no model"):
        foresee(serving_point("nobody/unknown", "h100", layout=Layout(), concurrency=1, **CHAT))
    with pytest.raises(ValueError, match="unknown accelerator"):
        foresee(serving_point("openai/gpt-oss-120b", "h1000", layout=Layout(), concurrency=1, **CHAT))
    with pytest.raises(ValueError, match="unknown number format"):
        foresee(serving_point("Qwen/Qwen3-32B", "h100", layout=Layout(), concurrency=1, precision="fp3", **CHAT))
    with pytest.raises(ValueError, match="say the layout"):
        foresee(serving_point("openai/gpt-oss-120b", "h100", concurrency=1, **CHAT))
