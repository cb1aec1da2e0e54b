"""`rackserve simulate` as people and programs see it: tables, JSON, comparisons, sweeps, reports, and its mistakes."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import deployments.twin as twin
from cluster.errors import SpecError
from deployments.commands.simulate.command import Asked, Shown, simulate
from deployments.commands.simulate.sweep import Sweep
from deployments.twin.scenario_file import SCENARIO_FILE
from tests.unit.deployments.twin.small_cluster import SIM

LOAD = ("rate=5,requests=60,prompt_tokens=800,output_tokens=30",)


def _file(folder: Path, name: str, **keys: Any) -> Path:  # noqa: ANN401 - what the cluster file takes
    file = folder / name
    file.write_text(json.dumps({"models": [{"name": "chat", "engine": "sim", "sim": SIM, "replicas": 2, **keys}]}))
    return file


def _shown(files: list[Path], sweep: str = "", *, as_json: bool = False, html: Path | None = None, **asked: Any) -> str:  # noqa: ANN401
    text = io.StringIO()
    console = Console(file=text, width=160)
    png = html.with_suffix(".png") if html is not None else None
    simulate(files, sweep, Asked(load=LOAD, **asked), Shown(as_json, html, png, console, Console(file=io.StringIO())))
    return text.getvalue()


def test_one_file_is_shown_with_what_its_requests_waited_for(tmp_path: Path) -> None:
    """The table has the requests; the lines below say waits, GPU-hours and, with a price, what tokens cost."""
    shown = _shown([_file(tmp_path, "one.yaml")], gpu_hour=2.5)
    assert re.search(r"all\s*│\s*60\s*│\s*0", shown)
    assert "for its prompt's computation" in shown
    assert "GPU-hours" in shown
    assert "a million output tokens" in shown


def test_json_is_the_same_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get every figure, equal to the digit for equal seeds."""
    file = _file(tmp_path, "one.yaml")
    texts = []
    for _ in range(2):
        _shown([file], as_json=True, seed=5)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["all"]["answered"] == 60


def test_two_files_are_compared_figure_by_figure(tmp_path: Path) -> None:
    """Half the speed is twice the time per token, shown as a change."""
    slow = _file(tmp_path, "slow.yaml", sim={**SIM, "inter_token_s": 0.02, "inter_token_per_seq_s": 0.0})
    fast = _file(tmp_path, "fast.yaml", sim={**SIM, "inter_token_s": 0.01, "inter_token_per_seq_s": 0.0})
    shown = _shown([fast, slow])
    row = next(line for line in shown.splitlines() if "TPOT p50" in line)
    change = float(re.search(r"([+-][\d.]+)%", row).group(1))  # type: ignore[union-attr]
    assert 80 < change < 120


def test_a_sweep_runs_the_file_once_for_each_value(tmp_path: Path) -> None:
    """Three numbers of replicas: three columns, and GPU-hours that rise with them."""
    shown = _shown([_file(tmp_path, "one.yaml")], "models.0.replicas=1..3")
    assert all(f"replicas={count}" in shown for count in (1, 2, 3))
    row = next(line for line in shown.splitlines() if "GPU-hours" in line)
    hours = [float(cell) for cell in re.findall(r"[\d.]+(?:e-?\d+)?", row.split("(h)")[1])]
    assert hours == sorted(hours)
    assert hours[0] < hours[2]


def test_a_sweeps_mistakes_are_told() -> None:
    """No values, no range, a key that leads nowhere, too many values."""
    for text in ("models.0.replicas", "a=1..b", "a=1..900"):
        with pytest.raises(SpecError):
            Sweep.of(text)
    with pytest.raises(SpecError, match="nothing at '7'"):
        list(Sweep.of("models.7.replicas=1").applied({"models": [{}]}))


def test_the_report_is_one_file_with_its_picture_inside(tmp_path: Path) -> None:
    """Nothing is loaded from elsewhere: no link, no script, and the PNG as data; the PNG is also a file of its own."""
    html = tmp_path / "report.html"
    _shown([_file(tmp_path, "a.yaml"), _file(tmp_path, "b.yaml", replicas=3)], html=html)
    text = html.read_text()
    assert "data:image/png;base64," in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    assert "a.yaml" in text
    assert "TTFT p99" in text
    assert html.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_what_does_not_fit_together_is_told_at_once(tmp_path: Path) -> None:
    """A load for a model that is not there, and a node that is not there, in one error; unknown hardware by itself."""
    file = _file(tmp_path, "one.yaml")
    text = io.StringIO()
    shown = Shown(as_json=False, html=None, png=None, console=Console(file=text), progress=Console(file=text))
    with pytest.raises(SpecError) as found:
        simulate([file], "", Asked(load=("model=other,rate=1",), lose=("nowhere@5",)), shown)
    assert "other" in str(found.value)
    assert "nowhere" in str(found.value)
    trace, scenario = tmp_path / "trace.jsonl", tmp_path / "scenario.yaml"
    trace.write_text('{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}\n')
    scenario.write_text("block_tokens: 32\n")
    with pytest.raises(SpecError, match=r"block_tokens.*512"):
        simulate([file], "", Asked(trace=trace, scenario=scenario), shown)
    real = tmp_path / "real.yaml"
    real.write_text("models: [{name: chat, source: meta-llama/Llama-3.1-8B-Instruct}]\n")
    with pytest.raises(SpecError, match="--hardware"):
        simulate([real], "", Asked(load=LOAD), shown)


def test_scenarios_that_are_shown_can_be_read() -> None:
    """The example, and the one in the twin's README."""
    folder = Path(twin.__file__).parent
    example = folder.parent / "examples" / "scenario.yaml"
    assert SCENARIO_FILE.load(example.read_text(), str(example)).events
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(SCENARIO_FILE.load(block, "README.md").load) == 2
