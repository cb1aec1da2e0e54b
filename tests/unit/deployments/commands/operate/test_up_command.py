"""`rackserve up` and `down` before they touch a machine: rendering, and what is wrong or missing here."""

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cluster.errors import SpecError
from cluster.launch.render import FORGET
from deployments.commands.operate import up
from deployments.launch.ray_up_file import LaunchFile

CLUSTER = """
cluster: {name: racks}
models: [{name: sim, engine: sim}]
launch:
  provider: onprem
  package: dist/rackserve-0.1.0-py3-none-any.whl[gpu]
  ssh: {user: ubuntu, private_key: key}
  head: {address: 10.0.0.1}
  workers: [{name: r0, domain: rack-0, hosts: [10.0.0.11], gpus: 4}]
"""


@pytest.fixture
def cluster_file(tmp_path: Path) -> Path:
    """Give a cluster file, with its key and wheel beside it."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "rackserve-0.1.0-py3-none-any.whl").touch()
    (tmp_path / "key").touch()
    file = tmp_path / "racks.yaml"
    file.write_text(CLUSTER, encoding="utf-8")
    return file


def test_render_prints_a_ray_up_file_with_paths_from_beside_the_cluster_file(
    cluster_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Key and wheel are found from where the file is, not from where the command is run."""
    up.render(cluster_file)
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["cluster_name"] == "racks"
    assert config["auth"]["ssh_private_key"] == str(cluster_file.parent / "key")
    (wheel,) = config["file_mounts"].values()
    assert wheel == str(cluster_file.parent / "dist" / "rackserve-0.1.0-py3-none-any.whl")


def test_a_file_that_forgets_is_not_what_stays(cluster_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--restart` the head forgets what it knew; the file that is kept brings it back with what it knows."""
    monkeypatch.setenv("RACKSERVE_CACHE", str(cluster_file.parent / "cache"))
    found = LaunchFile(cluster_file)
    assert FORGET in found.write(forget=True).read_text(encoding="utf-8")
    assert FORGET not in found.write().read_text(encoding="utf-8")


def test_a_key_or_wheel_that_is_not_there_is_named(cluster_file: Path) -> None:
    """Both at once, each by its key, before any machine is looked at."""
    (cluster_file.parent / "key").unlink()
    (cluster_file.parent / "dist" / "rackserve-0.1.0-py3-none-any.whl").unlink()
    with pytest.raises(SpecError) as caught:
        up.up(cluster_file, restart=False, verbose=False, console=Console(quiet=True))
    paths = [problem.path for problem in caught.value.problems]
    assert paths[:2] == ["launch.ssh.private_key", "launch.package"]


def test_a_clouds_client_that_is_missing_is_named_with_what_brings_it(cluster_file: Path) -> None:
    """Ray would fail in the middle; what to install is told instead."""
    text = """
models: [{name: sim, engine: sim}]
launch:
  provider: gcp
  project: my-project
  region: us-central1
  zone: us-central1-a
  image: projects/my-project/global/images/gpu
  subnet: projects/my-project/regions/us-central1/subnetworks/default
  head: {machine: n4-standard-16}
  ssh: {user: ubuntu, private_key: key}
  workers: [{name: boxes, count: 2}]
"""
    cluster_file.write_text(text, encoding="utf-8")
    with pytest.raises(
        SpecError, match=r"launch.provider: gcp needs the Python package googleapiclient here: pip install google-"
    ):
        LaunchFile(cluster_file).check_this_machine()


def test_a_folder_beside_the_cluster_file_is_no_source(cluster_file: Path) -> None:
    """`rackserve serve` takes it; on other machines it is not there."""
    (cluster_file.parent / "weights").mkdir()
    cluster_file.write_text(CLUSTER.replace("engine: sim", "source: weights"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"models\[0\].source: 'weights' is a folder beside the cluster file"):
        LaunchFile(cluster_file)


def test_every_mistake_is_told_at_once(cluster_file: Path) -> None:
    """A group's name twice and a machine twice."""
    twice = "hosts: [10.0.0.11], gpus: 4}, {name: r0, hosts: [10.0.0.11], gpus: 4}"
    cluster_file.write_text(CLUSTER.replace("hosts: [10.0.0.11], gpus: 4}", twice), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        LaunchFile(cluster_file)
    assert [problem.path for problem in caught.value.problems] == [
        "launch.workers[1].name",
        "launch.workers[1].hosts[0]",
    ]


def test_secrets_are_taken_from_here_and_written_for_this_user_alone(
    cluster_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that is not set here is told by its key; what is printed and the `ray up` file have none of them."""
    cluster_file.write_text(CLUSTER.replace("  ssh:", "  secrets: [HF_TOKEN, OTHER_KEY]\n  ssh:"), encoding="utf-8")
    monkeypatch.setenv("RACKSERVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.delenv("OTHER_KEY", raising=False)
    found = LaunchFile(cluster_file)
    with pytest.raises(SpecError) as caught:
        found.check_this_machine()
    assert "launch.secrets[1]: OTHER_KEY is not set in the environment of this command" in str(caught.value)
    assert "launch.secrets[0]" not in str(caught.value)
    assert "hf_very_secret" not in found.write().read_text()
    assert found.secrets_path.read_text() == "export HF_TOKEN=hf_very_secret\n"
    assert found.secrets_path.stat().st_mode & 0o777 == 0o600
    assert str(found.secrets_path) in found.text
