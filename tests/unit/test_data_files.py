"""The data files that a clone lacks: found in one folder, and explained where they are missing."""

from pathlib import Path

import pytest

from tests.data_files import (
    DATA_FILES,
    DATA_VARIABLE,
    MOONCAKE_TRACE,
    ROOT,
    commands_for_missing,
    data_folder,
    report,
)
from tests.rayservice_schema import strict_schema


def test_the_folder_is_beside_the_clone_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$RACKSERVE_DATA` wins; a file that is not there is None, one that is there has its path."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert data_folder() == ROOT.parent / "shared"
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path
    assert MOONCAKE_TRACE.found() is None
    path = tmp_path / MOONCAKE_TRACE.place
    path.parent.mkdir()
    path.write_text("{}\n")
    assert MOONCAKE_TRACE.found() == path


def test_the_report_says_where_to_get_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file with its commands, and what is skipped without it; a file of other content is told apart."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    told = "\n".join(report())
    for file in DATA_FILES:
        assert f"missing  {file.place}" in told
        assert f"{file.path}" in told
        assert all(each in told for each in file.needed_by)
    path = tmp_path / MOONCAKE_TRACE.place
    path.parent.mkdir()
    assert len(list(commands_for_missing())) == 3, "the trace is fetched; the schema is fetched and made"
    path.write_text("{}\n")
    assert len(list(commands_for_missing())) == 2
    assert "there, but its content is not what the published figures come from" in "\n".join(report())


def test_what_the_report_names_exists() -> None:
    """A test or a Make target that was renamed would send a newcomer nowhere."""
    makefile = (ROOT / "Makefile").read_text()
    for needed_by in (each for file in DATA_FILES for each in file.needed_by):
        name, _, _ = needed_by.partition(":")
        target = name.removeprefix("make ")
        assert f"\n{target}:" in makefile if target != name else (ROOT / name).is_file(), needed_by


def test_the_rayservice_schema_refuses_unknown_keys() -> None:
    """Descriptions go, objects with named properties are closed, free maps and lists keep what they hold."""
    fields = {
        "description": {"type": "string", "description": "a field that is called so"},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "description": "one"}},
        "ports": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
    }
    schema = {"openAPIV3Schema": {"type": "object", "description": "all", "properties": fields}}
    versions = [{"name": "v1alpha1", "schema": {}}, {"name": "v1", "schema": schema}]
    assert strict_schema({"spec": {"versions": versions}}) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "description": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "ports": {
                "type": "array",
                "items": {"type": "object", "additionalProperties": False, "properties": {"port": {"type": "integer"}}},
            },
        },
    }
