"""The memory of adapters' slots, as `rackserve plan` counts it and as vLLM reserves it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.adapter_room.adapter_plan import AdapterPlan
from cluster.model_shapes.model_config import shape_from_config
from deployments.models.source import fetch
from tests.engine_contract.expert_model import build

pytestmark = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["dense", "experts"])
def test_slots_are_planned_as_vllm_reserves_them(kind: str, tmp_path: Path) -> None:
    """To the byte, of SmolLM2 and of a mixture; vLLM here has float32, of twice the bytes."""
    folder = fetch("smollm2-135m-instruct") if kind == "dense" else build(tmp_path / "mixture")
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine_contract.reserved_adapters", str(folder), "2", "8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (reserved,) = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("RESERVED ")]
    values = shape_from_config(json.loads((Path(folder) / "config.json").read_text()), "m").adapter
    assert 2 * AdapterPlan(slots=2, rank=8).bytes_on_one_gpu(values, 1, 1.0, 1.0) == reserved
