"""The `rackserve` command's surface: help to learn from, versions, and mistakes told in one message."""

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments import __version__
from deployments.cli import main as cli
from router import FORM

ROOT = Path(__file__).parents[4]
COMMANDS = ("serve", "status", "chat", "gateway", "demo", "models")
runner = CliRunner()


def help_of(*arguments: str) -> str:
    """Return a help text."""
    result = runner.invoke(cli.app, [*arguments, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    return result.stdout


def test_the_overview_names_every_command_and_how_to_begin() -> None:
    """`rackserve --help` alone gets a newcomer going: a first command and a cluster file."""
    text = help_of()
    assert all(command in text for command in COMMANDS)
    assert "rackserve demo" in text
    assert "replicas: 2" in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("serve",), ["READY http://", "RAY_ADDRESS", "Exit code 2"]),
        (("status",), ["--json", "RAY_ADDRESS"]),
        (("chat",), ["RACKSERVE_URL", "--max-tokens"]),
        (("gateway",), ["--replica http://10.0.0.1:8000", "/v1/models", "least_load", "RACKSERVE_REPLICA_KEY"]),
        (("demo",), ["--keep", "no GPU"]),
        (("models", "fetch"), ["built-in", "--quiet"]),
        (("models", "list"), ["built-in"]),
    ],
)
def test_every_command_explains_itself(command: tuple[str, ...], words: list[str]) -> None:
    """Each help text says what happens, the defaults and the environment variables that count."""
    text = help_of(*command)
    assert all(word in text for word in words), text


def test_the_version_is_the_packages() -> None:
    """`--version` says what is installed, in which form, beside Ray and vLLM."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    result = runner.invoke(cli.app, ["--version"])
    assert result.stdout.startswith(f"rackserve {__version__}")
    assert f"request path {FORM}" in result.stdout
    assert "ray 2.60.0" in result.stdout


def test_a_wrong_cluster_file_is_one_message_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All problems at once on stderr, no traceback, before anything is started."""
    file = tmp_path / "cluster.yaml"
    file.write_text("models:\n  - {name: m, engin: sim}\n  - {name: m, engine: sim, replicas: -1}\n")
    monkeypatch.setattr("sys.argv", ["rackserve", "serve", str(file)])
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert f"rackserve: {file}: 4 problems" in told
    assert "models[0].engin: unknown key; did you mean 'engine'? (line 2)" in told
    assert "models[1].replicas" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("arguments", [["serve"], ["serve", "a", "b"], ["gateway"], ["nonsense"], ["serve", "--nope"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """Missing arguments and unknown options are usage errors."""
    assert runner.invoke(cli.app, arguments).exit_code == 2


def test_talking_to_nobody_is_one_message_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`chat` with nothing at the other end says so."""
    monkeypatch.setattr("sys.argv", ["rackserve", "chat", "hello", "--url", "http://127.0.0.1:1"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "nothing answers at http://127.0.0.1:1" in capsys.readouterr().err
