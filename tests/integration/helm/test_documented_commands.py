"""The commands that the READMEs and the values give for this chart work as they are written."""

import re
import shlex
from pathlib import Path

import pytest

from tests.integration.helm.chart import CHART, ROOT, helm

DOCUMENTS = (ROOT / "README.md", CHART / "README.md", CHART / "values-cpu.yaml")
OURS = "helm/rackserve"


def commands() -> list[str]:
    """Return every line that runs Helm on this chart with values that exist."""
    lines = [line for document in DOCUMENTS for line in document.read_text().splitlines()]
    found = [match[1].split("  #")[0] for line in lines if (match := re.match(r"^(?:#\s+)?(helm .*)$", line))]
    return sorted({line.strip() for line in found if OURS in line.split() and "my-values" not in line})


@pytest.mark.parametrize("command", commands())
def test_a_command_works_as_written(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`helm template` as it is; `install` and `upgrade`, for want of a cluster, by rendering the same release."""
    monkeypatch.chdir(ROOT)
    _, verb, *arguments = shlex.split(command)
    assert verb in {"install", "template", "upgrade"}
    done = helm("4.1", "template", *arguments)
    assert done.returncode == 0, done.stderr
    assert "kind: RayService" in done.stdout


def test_there_are_commands_to_check() -> None:
    """The READMEs say how to install and how to scale."""
    assert {shlex.split(command)[1] for command in commands()} == {"install", "template", "upgrade"}
    assert all(Path(ROOT / "helm" / name).exists() for name in ("kuberay-operator-values.yaml", "rackserve/Chart.yaml"))
