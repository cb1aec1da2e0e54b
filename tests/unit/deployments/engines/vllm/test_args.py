"""`engine_args` of the cluster file, as vLLM's command line."""

import argparse
import json

import pytest

from cluster.errors import EngineStartError
from cluster.spec.model_parts.parallelism import Parallelism
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.args import argv, parallel_words
from deployments.engines.vllm.env import KV_CACHE_BYTES, engine_arguments, environment


def parser() -> argparse.ArgumentParser:
    """Return a parser with an argument of each kind vLLM has."""
    found = argparse.ArgumentParser()
    found.add_argument("--model")
    found.add_argument("--max-model-len", type=int)
    found.add_argument("--enforce-eager", action=argparse.BooleanOptionalAction)
    found.add_argument("--disable-log-stats", action="store_true")
    found.add_argument("--kv-events-config", type=json.loads)
    found.add_argument("--allowed-origins", nargs="+")
    found.add_argument("--tool-call-parser")
    return found


def parsed(**engine_args: object) -> dict[str, object]:
    """Return what the parser makes of `engine_args`, without what they leave open."""
    known = parser()
    found = vars(known.parse_args(argv(engine_args, known._actions)))
    return {name: value for name, value in found.items() if name in {key.replace("-", "_") for key in engine_args}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_model_len", 2048),
        ("enforce_eager", True),
        ("enforce_eager", False),
        ("disable_log_stats", True),
        ("disable_log_stats", False),
        ("kv_events_config", {"enable_kv_cache_events": True, "endpoint": "ipc:///tmp/x y"}),
        ("allowed_origins", ["http://a", "http://b"]),
        ("tool_call_parser", "hermes"),
        ("tool_call_parser", "--starts-with-dashes"),
        ("max_model_len", None),
    ],
)
def test_values_arrive_as_they_are(name: str, value: object) -> None:
    """YAML's numbers, switches, mappings, lists and texts mean what they say; null leaves the default."""
    assert parsed(**{name: value}) == {name: value}
    assert list(parsed(**{name.replace("_", "-"): value}).values()) == [value]


def test_how_a_replica_is_cut_reaches_vllm() -> None:
    """Every size; ranks on several machines meet at this one's address, not at vLLM's default of 127.0.0.1."""
    sizes = ["--tensor-parallel-size=2", "--pipeline-parallel-size=1", "--data-parallel-size=4"]
    experts = Parallelism(tensor=2, data=4, expert=8)
    assert parallel_words(experts, "10.0.0.7") == [
        *sizes,
        "--data-parallel-address=10.0.0.7",
        "--enable-expert-parallel",
    ]
    assert parallel_words(Parallelism(tensor=2, data=4), "") == sizes
    assert parallel_words(Parallelism(tensor=8, pipeline=2), "10.0.0.7") == [
        "--tensor-parallel-size=8",
        "--pipeline-parallel-size=2",
        "--data-parallel-size=1",
    ]
    with pytest.raises(EngineStartError, match=r"data_parallel_rank: not set here; `parallel\.data` decides it"):
        parsed(data_parallel_rank=1)


def test_an_unknown_name_is_told_with_what_it_may_have_meant() -> None:
    """The error names the key as it was written, and close ones."""
    with pytest.raises(EngineStartError, match=r"engine_args\.max_model_length: .*did you mean max_model_len"):
        parsed(max_model_length=1)
    with pytest.raises(EngineStartError, match=r"engine_args\.zzz: vLLM has no such argument$"):
        parsed(zzz=1)


def test_what_rackserve_decides_is_refused() -> None:
    """The model's name and source, the port and the parallelism have keys of their own."""
    for name, where in (("model", "source"), ("tensor_parallel_size", "parallel.tensor"), ("port", "RackServe")):
        with pytest.raises(EngineStartError, match=where):
            argv({name: 1}, parser()._actions)


def test_a_switch_is_true_or_false() -> None:
    """A text for a switch is a mistake, not a truth."""
    for name in ("enforce_eager", "disable_log_stats"):
        with pytest.raises(EngineStartError, match=f"{name}: true or false, not 'yes'"):
            parsed(**{name: "yes"})


def model(**more: object) -> ModelSpec:
    """Return a vLLM model."""
    return ModelSpec.model_validate({"name": "m", "source": "s", **more})


def test_defaults_suit_a_small_shared_machine() -> None:
    """On a CPU: blocks that cache short prompts, a bounded KV cache, no compilation and PyTorch's own operators."""
    found = engine_arguments(model(), {}, cpu=True)
    assert (found["block_size"], found["kv_cache_memory_bytes"], found["enforce_eager"]) == (32, KV_CACHE_BYTES, True)
    assert found["compilation_config"] == {"custom_ops": ["none"]}
    assert found["enable_prompt_tokens_details"] is True
    assert engine_arguments(model(), {}, cpu=False) == {
        "enable_prompt_tokens_details": True,
        "limit_mm_per_prompt": {"image": 16, "audio": 16, "video": 16},
    }


def test_what_is_asked_for_wins() -> None:
    """Each default gives way, also where the key is written with dashes or the environment sizes the cache."""
    asked = model(engine_args={"block-size": 64, "enforce_eager": False, "gpu-memory-utilization": 0.2})
    found = engine_arguments(asked, {}, cpu=True)
    assert (found["block_size"], found["enforce_eager"], found["gpu_memory_utilization"]) == (64, False, 0.2)
    assert not {"kv_cache_memory_bytes", "compilation_config", "block-size"} & found.keys()
    assert "kv_cache_memory_bytes" not in engine_arguments(model(), {"VLLM_CPU_KVCACHE_SPACE": "2"}, cpu=True)


def test_pipeline_stages_need_no_compilation() -> None:
    """Our worker makes the buffer that vLLM 0.32's eager mode forgets on a CPU."""
    assert engine_arguments(model(parallel={"pipeline": 2}), {}, cpu=True)["enforce_eager"] is True


def test_the_environment_suits_shared_cores_and_offline_folders(tmp_path: object) -> None:
    """A thread a reserved core, no binding, no hub for a folder; the model's own variables win."""
    found = environment(model(cpus=2.5, env={"OMP_NUM_THREADS": "7"}), str(tmp_path), cpu=True)
    assert found["OMP_NUM_THREADS"] == "7"
    assert (found["VLLM_CPU_OMP_THREADS_BIND"], found["HF_HUB_OFFLINE"]) == ("nobind", "1")
    assert environment(model(cpus=2.5), "org/model", cpu=True)["OMP_NUM_THREADS"] == "2"
    assert environment(model(cpus=0.5), "org/model", cpu=True)["OMP_NUM_THREADS"] == "1"
    assert "HF_HUB_OFFLINE" not in environment(model(), "org/model", cpu=False)


def test_traces_reach_the_engine() -> None:
    """Where an exporter is configured vLLM sends its spans there too, unless the cluster file names another place."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}
    assert engine_arguments(model(), env, cpu=False)["otlp_traces_endpoint"] == "http://collector:4317"
    asked = model(engine_args={"otlp-traces-endpoint": "http://other:4317"})
    assert engine_arguments(asked, env, cpu=False)["otlp_traces_endpoint"] == "http://other:4317"


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("generate", {"runner": "generate"}),
        ("embed", {"runner": "pooling", "convert": "embed"}),
        ("classify", {"runner": "pooling", "convert": "classify"}),
        ("score", {"runner": "pooling", "convert": "classify"}),
    ],
)
def test_a_task_becomes_vllms_runner(task: str, arguments: dict[str, str]) -> None:
    """And what the checkpoint is converted to; `engine_args` come first."""
    found = engine_arguments(model(task=task), {}, cpu=False)
    assert {key: found.get(key) for key in ("runner", "convert") if key in found} == arguments
    asked = engine_arguments(model(task=task, engine_args={"convert": "none"}), {}, cpu=False)
    assert asked["convert"] == "none"


def test_media_are_checked_by_our_connector() -> None:
    """Without a word in the file; how many items a prompt may have is the file's."""
    assert environment(model(), "org/m", cpu=False)["VLLM_MEDIA_CONNECTOR"] == "rackserve"
    found = engine_arguments(model(media={"max_items": 2}), {}, cpu=False)
    assert found["limit_mm_per_prompt"] == {"image": 2, "audio": 2, "video": 2}
    asked = engine_arguments(model(engine_args={"limit_mm_per_prompt": {"image": 1}}), {}, cpu=False)
    assert asked["limit_mm_per_prompt"] == {"image": 1}
