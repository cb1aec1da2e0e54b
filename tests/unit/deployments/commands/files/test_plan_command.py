"""`rackserve plan` as people and programs see it."""

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cluster.errors import ModelShapeError, SpecError
from cluster.launch.fabric import MULTI_NODE_NVLINK, as_environment
from cluster.spec.cluster_file import from_data
from deployments.commands.files.plan import plan
from deployments.models.source import resolve

CONFIGS = Path(__file__).parents[4] / "model_configs"
QUESTION = """\
hardware: h100
workload: {input_tokens: 2000, output_tokens: 300, requests_per_s: 10}
slo: {ttft_s: 2, tpot_s: 0.05}
price: {gpu_hour: 2.5, currency: EUR}
"""


def written(folder: Path, model: str, question: str = QUESTION) -> Path:
    """Return a plan file about `model`."""
    file = folder / "plan.yaml"
    file.write_text(f"model: {model}\n{question}")
    return file


def shown(file: Path, *, show_all: bool = False) -> tuple[int, str]:
    """Return the exit code and what people read."""
    console = Console(file=io.StringIO(), width=200)
    code = plan(file, as_json=False, show_all=show_all, console=console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_people_see_the_plan_its_memory_its_cost_and_why_others_lost(tmp_path: Path) -> None:
    """All of it on one screen, and the entry for the cluster file."""
    code, text = shown(written(tmp_path, "llama-3.1-70b"))
    assert code == 0
    assert "llama-3.1-70b (70.6 B parameters, bf16 weights of 141.1 GB) on NVIDIA HGX H100 80 GB" in text
    for words in ("GPUs, planned to 80% of capacity", "EUR per million output tokens", "kv cache", "TTFT", "TPOT"):
        assert words in text
    assert "weights 141 GB > 1 × 73.6 GB usable" in text  # noqa: RUF001 - the field's own sign
    assert "more: --all lists them" in text
    assert "Of 10 MLPerf results that it was not fitted to it is off by 10% (median)" in text
    snippet = text[text.index("models:") : text.index("Times are those of")]
    assert from_data(yaml.safe_load(snippet), "printed").models[0].name == "llama-3.1-70b"


def test_people_see_two_pools_and_why(tmp_path: Path) -> None:
    """Both pools and the transfer between them, why they were chosen, and an entry that a cluster file takes."""
    question = QUESTION.replace("input_tokens: 2000", "input_tokens: 16000")
    question = question.replace("{ttft_s: 2, tpot_s: 0.05}", "{ttft_s: 5, tpot_s: 0.025, share: 0.95}")
    code, text = shown(written(tmp_path, "llama-3.1-70b", question + "precisions: [fp8]\nkv_precision: fp8\n"))
    assert code == 0
    for words in ("prefill pool", "decode pool", "GB of KV cache a prompt", "as one pool", "EUR per million"):
        assert words in text
    assert "Two pools, " in text
    snippet = text[text.index("models:") : text.index("Times are those of")]
    pools = from_data(yaml.safe_load(snippet), "printed").models[0].in_pools()
    assert [pool.pools[0].role for pool in pools] == ["prefill", "decode"]


def test_a_machine_that_has_less_than_is_asked_of_it_is_a_mistake_of_the_file(tmp_path: Path) -> None:
    """At the keys, both at once, with what would fit; then it is shown beside the layout."""
    offload = "offload: {cpu_gb: 1900, disk_gb: 19000, disk_path: /kv}\n"
    with pytest.raises(SpecError) as raised:
        shown(written(tmp_path, "llama-3.1-8b", QUESTION + offload))
    assert [problem.path for problem in raised.value.problems] == ["offload.cpu_gb", "offload.disk_gb"]
    code, text = shown(written(tmp_path, "llama-3.1-8b", QUESTION + "offload: {cpu_gb: 200}\n"))
    assert code == 0
    assert "GB of host memory that a machine has free" in text
    assert "It keeps KV cache beyond the GPUs, which hold" in text


def test_racks_show_what_their_nvlink_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each setting with its reason and its source, and IMEX; boxes, whose NVLink ends at the machine, need nothing."""
    rack = QUESTION.replace("h100", "gb300")
    _, text = shown(written(tmp_path, "llama-3.1-70b", rack))
    for setting in MULTI_NODE_NVLINK:
        assert f"{setting.name}={setting.value}: {setting.why} ({setting.source})" in text
    assert "IMEX domain" in text
    plan(written(tmp_path, "llama-3.1-70b", rack), as_json=True, show_all=False, console=Console())
    assert json.loads(capsys.readouterr().out)["fabric"] == as_environment(MULTI_NODE_NVLINK)
    _, text = shown(written(tmp_path, "llama-3.1-70b"))
    assert "IMEX" not in text


def test_all_alternatives_on_request(tmp_path: Path) -> None:
    """`--all` leaves nothing out."""
    _, text = shown(written(tmp_path, "llama-3.1-70b"), show_all=True)
    assert "--all lists them" not in text
    assert "TP 8 × PP 2 × EP 1 × DP 1" in text  # noqa: RUF001 - the field's own sign


def test_programs_get_everything_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan, its parts, and each alternative with its reason, units in the keys."""
    code = plan(written(tmp_path, "deepseek-r1"), as_json=True, show_all=False, console=Console())
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    best = answer["best"]
    assert best["gpus"] == best["replicas"] * best["gpus_per_replica"]
    assert best["gpus_per_replica"] == best["tensor"] * best["pipeline"] * best["data"]
    assert sum(best["memory_bytes_per_gpu"].values()) == pytest.approx(80e9)
    assert answer["currency"] == "EUR"
    assert answer["model"]["parameters"] == 671026404352
    assert all(option["why_lost"] for option in answer["others"])
    assert answer["cluster_file"]["replicas"] == best["replicas"]
    assert answer["chosen"] == "one_pool"
    assert answer["apart"] is None
    assert "do not serve this within the SLO" in answer["why_pools"]


def test_a_plan_that_cannot_be_exits_with_1(tmp_path: Path) -> None:
    """And still says why of each."""
    code, text = shown(written(tmp_path, "llama-3.1-405b", QUESTION.replace("0.05", "0.0001")))
    assert code == 1
    assert "Nothing serves this workload within the SLO." in text
    assert "ms > 0.1 ms with one sequence" in text


def test_a_model_may_be_a_config_beside_the_plan_file(tmp_path: Path) -> None:
    """Its file, or the folder that holds it as config.json: paths are taken from where the plan file is."""
    (tmp_path / "my-model").mkdir()
    shutil.copy(CONFIGS / "qwen3-32b.json", tmp_path / "my-model" / "config.json")
    shutil.copy(CONFIGS / "smollm2-135m.json", tmp_path / "small.json")
    assert "my-model (32.8 B parameters" in shown(written(tmp_path, "my-model"))[1]
    assert "small (0.1 B parameters" in shown(written(tmp_path, "small.json"))[1]


def test_the_source_of_a_plan_from_a_config_is_a_folder_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Relative, absolute, from the home, the folder or its config.json: the cluster file may then stand anywhere."""
    folder = tmp_path / "models" / "my-model"
    folder.mkdir(parents=True)
    shutil.copy(CONFIGS / "smollm2-135m.json", folder / "config.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "plans").mkdir()
    for model in ("../models/my-model", "../models/my-model/config.json", str(folder), "~/models/my-model"):
        plan(written(tmp_path / "plans", model), as_json=True, show_all=False, console=Console())
        answer = json.loads(capsys.readouterr().out)
        assert answer["cluster_file"]["source"] == str(folder)
        assert resolve(answer["cluster_file"]["source"]) == str(folder)
        assert answer["cautions"] == []


def test_a_drafts_source_is_a_folder_that_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the model's own: absolute, however the plan file has it; a config alone is warned of."""
    folder = tmp_path / "draft"
    folder.mkdir()
    for file in (folder / "config.json", tmp_path / "small.json"):
        shutil.copy(CONFIGS / "llama-3.1-8b.json", file)
    for draft in ("draft", "draft/config.json", str(folder), "small.json"):
        speculative = f"speculative: {{method: draft_model, tokens: 4, acceptance: 0.9, model: {draft}}}\n"
        file = written(tmp_path, "llama-3.1-405b", QUESTION.replace("h100", "gb300") + speculative)
        plan(file, as_json=True, show_all=False, console=Console())
        answer = json.loads(capsys.readouterr().out)
        if draft == "small.json":
            assert f"{tmp_path}/small.json is a config alone: speculative.model must" in " ".join(answer["cautions"])
        else:
            assert answer["cluster_file"]["speculative"]["model"] == str(folder)


def test_a_config_without_a_checkpoint_beside_it_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of another name than config.json can be planned, but not be served."""
    shutil.copy(CONFIGS / "smollm2-135m.json", tmp_path / "small.json")
    plan(written(tmp_path, "small.json"), as_json=True, show_all=False, console=Console())
    [caution] = json.loads(capsys.readouterr().out)["cautions"]
    assert caution == (
        f"{tmp_path}/small.json is a config alone: the cluster file's source must name the checkpoint's id or folder"
    )


def test_the_weights_of_a_quantised_checkpoint_are_shown_by_format(tmp_path: Path) -> None:
    """With the grouping and the bytes of each; the format names the alternatives too."""
    config = json.loads((CONFIGS / "llama-3.1-70b.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 8, "group_size": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = shown(written(tmp_path, "."))[1]
    assert "int8-w8a16 weights of 74.3 GB" in text
    assert "Its weights: 70.1 GB int8-w8a16, a scale for each 128 values; 4.2 GB bf16." in text


def test_a_model_that_is_not_there_is_told_what_there_is(tmp_path: Path) -> None:
    """Known names, and where a config was looked for."""
    with pytest.raises(SpecError, match=r"no model 'llama' is known here.*config\.json at .*known: smollm2-135m"):
        shown(written(tmp_path, "llama"))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The plan file, a config that is no JSON, a config that is no model."""
    with pytest.raises(SpecError, match=r"missing\.yaml: 1 problem\n.*No such file"):
        shown(tmp_path / "missing.yaml")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SpecError, match=r"broken\.json: 1 problem\n.*not JSON"):
        shown(written(tmp_path, "broken.json"))
    (tmp_path / "other.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelShapeError, match="other: model_type 'bert' is not known here"):
        shown(written(tmp_path, "other.json"))
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not a text file"):
        shown(tmp_path / "plan.yaml")
