"""Operators' own `terraform test` files, from the folder of shared data, on copies of the modules and examples."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.data_files import data_folder
from tests.integration.test_terraform import PROVIDERS, TERRAFORM, OfflineTerraform, needs_terraform, overrides

CASES: Final = data_folder() / "cases" / "operators" / "terraform"
FOLDERS: Final = {
    "capacity_block": "modules/aws-gpu-rack",
    "forty_nodes": "examples/multi-rack",
    "one_reservation": "examples/multi-rack",
}
"""File → the folder that has its variables."""


@needs_terraform
@pytest.mark.long
@pytest.mark.skipif(not CASES.is_dir(), reason=f"no {CASES}: $RACKSERVE_DATA names the folder of shared data")
@pytest.mark.parametrize("case", FOLDERS)
def test_it_passes(case: str, tmp_path: Path) -> None:
    """Capacity blocks of 8-GPU machines, one reservation for several of them, 40 machines within EKS' quota."""
    shutil.copytree(TERRAFORM, tmp_path / "terraform")
    folder = tmp_path / "terraform" / FOLDERS[case]
    shutil.rmtree(folder / "tests", ignore_errors=True)
    (folder / "tests").mkdir()
    shutil.copy(CASES / f"{case}.tftest.hcl", folder / "tests")
    terraform = OfflineTerraform(folder, tmp_path / "scratch", overrides(PROVIDERS[-1]))
    terraform.run("get")
    assert "1 passed, 0 failed" in terraform.run("test", "-no-color")


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no {CASES}: $RACKSERVE_DATA names the folder of shared data")
def test_every_file_is_run() -> None:
    """A file that is added there is run, too."""
    assert {file.name.split(".")[0] for file in CASES.glob("*.tftest.hcl")} == FOLDERS.keys()
