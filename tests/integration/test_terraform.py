"""terraform/: every module and example is formatted, valid and passes its own tests, without a network.

Terraform's `mock_provider` still wants the real AWS provider for its schema. It is taken from a provider mirror on the
disk (`TERRAFORM_MIRROR`, else /opt/tf-plugins) by `dev_overrides`: nothing is fetched, copied or written to the tree.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.ray_settings import UNSEEN
from cluster.replica_cost.hardware import ACCELERATORS

TERRAFORM = Path(__file__).parents[2] / "terraform"
CLUSTER = TERRAFORM.with_name("cluster")
MODULES = sorted(TERRAFORM.glob("modules/*"))
FOLDERS = [*MODULES, *sorted(TERRAFORM.glob("examples/*"))]
MIRROR = Path(os.environ.get("TERRAFORM_MIRROR", "/opt/tf-plugins"))
PROVIDERS = sorted(MIRROR.glob("registry.terraform.io/hashicorp/aws/*/linux_amd64"))
PARALLEL = 2
IN_EXAMPLES = {"modules/_gpu-machine", "modules/aws-eks", "modules/aws-gpu-rack", "modules/aws-network"}
"""Modules of the examples: `validate` there checks them too, and loads the provider once less (2 s of a core)."""

needs_terraform = pytest.mark.skipif(
    shutil.which("terraform") is None or not PROVIDERS,
    reason=f"needs the terraform command and hashicorp/aws in a provider mirror at {MIRROR} (TERRAFORM_MIRROR)",
)


def _name(folder: Path) -> str:
    return folder.relative_to(TERRAFORM).as_posix()


class OfflineTerraform:
    """Runs Terraform in one folder, with the provider of the mirror and data of its own."""

    def __init__(self, folder: Path, scratch: Path, settings: str) -> None:
        scratch.mkdir(parents=True)
        config = scratch / "terraform.rc"
        config.write_text(settings)
        self._folder = folder
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))},
            "TF_CLI_CONFIG_FILE": str(config),
            "TF_DATA_DIR": str(scratch / "data"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }

    def run(self, *words: str) -> str:
        """Run a command; returns what it printed. A failure's words are the test's failure."""
        ended = subprocess.run(
            ["terraform", *words], cwd=self._folder, env=self._env, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            pytest.fail(f"terraform {' '.join(words)} in {self._folder}:\n{ended.stdout}{ended.stderr}")
        return ended.stdout


def overrides(provider: Path) -> str:
    """Return the settings by which Terraform takes the provider from the mirror."""
    return f'provider_installation {{\n dev_overrides {{\n "hashicorp/aws" = "{provider}"\n }}\n direct {{}}\n}}\n'


def _validate_and_test(folder: Path, scratch: Path) -> str:
    terraform = OfflineTerraform(folder, scratch, overrides(PROVIDERS[-1]))
    terraform.run("get")
    if _name(folder) not in IN_EXAMPLES:
        terraform.run("validate", "-no-color")
    return terraform.run("test", "-no-color")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Future[str]]]:
    """Run all folders, two at a time: each is mostly one core loading the provider's schema."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        scratch = tmp_path_factory.mktemp("terraform")
        # The longest first, so that the last one does not run alone.
        order = sorted(FOLDERS, key=lambda folder: -len(re.findall(r"^run ", _tests_of(folder), re.MULTILINE)))
        yield {folder: pool.submit(_validate_and_test, folder, scratch / folder.name) for folder in order}


def _tests_of(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.glob("tests/*.tftest.hcl"))


@needs_terraform
@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_every_folder_is_valid_and_passes_its_tests(folder: Path, outcomes: dict[Path, Future[str]]) -> None:
    """`validate` and `test` succeed, and the folder has tests."""
    told = re.search(r"Success! (\d+) passed, 0 failed", outcomes[folder].result())
    assert told is not None
    assert int(told[1]) >= 2


@needs_terraform
def test_formatted(tmp_path: Path) -> None:
    """`terraform fmt -check` finds nothing to change."""
    OfflineTerraform(TERRAFORM, tmp_path / "fmt", "").run("fmt", "-check", "-recursive", "-diff")


@needs_terraform
def test_init_finds_a_provider_its_constraint_admits(tmp_path: Path) -> None:
    """`terraform init`, as an operator runs it, takes the provider from a mirror."""
    settings = f'provider_installation {{\n filesystem_mirror {{\n path = "{MIRROR}"\n }}\n}}\n'
    copy = tmp_path / "terraform"
    shutil.copytree(TERRAFORM, copy, ignore=shutil.ignore_patterns(".terraform*"))
    example = copy / "examples" / "minimal"
    terraform = OfflineTerraform(TERRAFORM / "examples" / "minimal", tmp_path / "init", settings)
    terraform.run(f"-chdir={example}", "init", "-backend=false", "-input=false", "-no-color")
    assert "hashicorp/aws" in (example / ".terraform.lock.hcl").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_every_folder_has_its_files_and_says_what_it_takes_and_gives(folder: Path) -> None:
    """main, variables, outputs, versions and a README that names every variable and output."""
    for name in ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"):
        assert (folder / name).is_file(), f"{_name(folder)}/{name} is missing"
    readme = (folder / "README.md").read_text()
    for kind, file in (("variable", "variables.tf"), ("output", "outputs.tf")):
        for name in re.findall(rf'^{kind} "(\w+)"', (folder / file).read_text(), re.MULTILINE):
            assert f"| `{name}` |" in readme, f"{_name(folder)}/README.md does not tell of the {kind} {name}"


def test_nothing_is_open_to_everybody_but_the_public_endpoint() -> None:
    """0.0.0.0/0 stands in one line: the route of the public subnets, made only when asked for."""
    lines = [
        f"{_name(file)}: {line.strip()}"
        for file in sorted(TERRAFORM.rglob("*.tf"))
        for line in file.read_text().splitlines()
        if re.search(r"0\.0\.0\.0/0|::/0", line) and not re.match(r"\s*(#|description)", line)
    ]
    assert lines == ['modules/aws-network/main.tf: for_each = toset(var.public ? ["0.0.0.0/0"] : var.egress_cidrs)']


def test_instance_types_are_racked_as_the_planner_believes() -> None:
    """GPUs a machine and machines a domain are the same figures as in cluster/hardware.py."""
    for name, row in json.loads((TERRAFORM / "modules/_sizing/instance_types.json").read_text()).items():
        hardware = ACCELERATORS.get(row["gpu"])
        if hardware is not None:
            assert (row["gpus"], row["nodes_per_domain"]) == (hardware.gpus_per_node, hardware.nodes_per_domain), name


def test_ray_up_takes_the_launch_file() -> None:
    """The file `aws-ray-vms` fills in is valid by Ray's own schema."""
    launch_file = yaml.safe_load((TERRAFORM / "modules/aws-ray-vms/tests/launch_file.golden.yaml").read_text())
    validate_config(prepare_config(launch_file))
    assert {row["labels"].get("ray.io/gpu-domain") for row in launch_file["available_node_types"].values()} == {
        None, "gb300-0", "gb300-1",
    }  # fmt: skip


def test_machines_of_terraform_start_ray_as_those_of_rackserve_up_do() -> None:
    """The same token, made in the same way, and the same settings; Ray's records stay, for its dashboard."""
    ours = yaml.safe_load((CLUSTER / "launch" / "aws-gb300.yaml").read_text())
    theirs = yaml.safe_load((TERRAFORM / "modules/aws-ray-vms/tests/launch_file.golden.yaml").read_text())
    assert theirs["cluster_synced_files"] == ours["cluster_synced_files"]
    assert theirs["head_start_ray_commands"][1] == ours["head_start_ray_commands"][1]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        mine, other = (set(re.split(r"[ ;]+", config[key][-1].partition("ulimit")[0])) for config in (ours, theirs))
        assert mine - {"=".join(setting) for setting in UNSEEN.items()} == other
