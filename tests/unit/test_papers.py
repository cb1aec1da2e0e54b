"""The papers at the top stay true: what they name exists, what they show can be read, the README stays short."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from cluster.spec import cluster_file
from deployments.cli import main as cli
from deployments.replica.cluster_rules import cluster_rules

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
README_WORDS = 900
ROOMS = "cluster|router|deployments|tests|helm|terraform"


def _documents() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in listed.stdout.split()]


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_is_short() -> None:
    """One sitting; all else belongs to the packages."""
    assert len((ROOT / "README.md").read_text().split()) <= README_WORDS


def test_links_between_documents_lead_somewhere() -> None:
    """In every README, not only at the top."""
    broken = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in _documents()
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        if not (document.parent / link).exists()
    ]
    assert not broken


@pytest.mark.parametrize("paper", PAPERS)
def test_files_and_targets_that_a_paper_names_exist(paper: str) -> None:
    """A file that moved or a target that was renamed would send a newcomer nowhere."""
    text = (ROOT / paper).read_text()
    paths = set(re.findall(rf"`((?:{ROOMS})/[\w./-]+)`", text))
    targets = set(re.findall(r"`make ([a-z-]+)", text))
    missing = {path for path in paths if not (ROOT / path).exists()} | (targets - _targets() - {"bench-"})
    assert not missing


def test_what_security_names_as_proof_exists() -> None:
    """A guard whose test was renamed or removed would be believed without proof."""
    named = re.findall(r"`(tests/[\w./-]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 30
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file()
        or not re.search(rf"^(?:async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert not missing


@pytest.mark.parametrize("document", ["README.md", "cluster/spec/README.md"])
def test_cluster_files_that_are_shown_can_be_read(document: str) -> None:
    """Each YAML block is a whole cluster file without a mistake."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        cluster_file.load(block, document, cluster_rules)


def test_every_command_is_listed_and_no_other() -> None:
    """The table in `deployments/commands/README.md` has each subcommand."""
    group = get_command(cli.app)
    names = set(group.commands)  # type: ignore[attr-defined] # a group, as `cli.app` has subcommands
    text = (ROOT / "deployments" / "commands" / "README.md").read_text()
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| `rackserve"))
    assert set(re.findall(r"`rackserve ([a-z-]+)", rows)) == names


def test_pre_commit_runs_what_make_check_runs() -> None:
    """The same programs with the same arguments, in the same order."""
    shown = subprocess.run(["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = [line for line in shown.splitlines() if line.startswith(".venv/bin/")]
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in repo["hooks"]] == commands
