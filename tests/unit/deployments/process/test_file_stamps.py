"""Changes of files are seen, however they are made."""

import os
from pathlib import Path

import pytest

from deployments.process.file_stamps import FileStamps


def test_each_change_is_seen_once(tmp_path: Path) -> None:
    """A file that comes, changes its size or time, or goes has changed; one that stays has not."""
    file = tmp_path / "servers.yaml"
    stamps = FileStamps([file])
    assert not stamps.have_changed()
    for change in (
        lambda: file.write_text("a"),
        lambda: file.write_text("ab"),
        lambda: os.utime(file, ns=(1, 1)),
        file.unlink,
    ):
        change()
        assert stamps.have_changed()
        assert not stamps.have_changed()


def test_a_mounted_secret_changes_with_its_folder(tmp_path: Path) -> None:
    """Kubernetes turns a link to a folder with the new files, of the same size and even the same time."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text("sk-1")
        os.utime(tmp_path / name / "key", ns=(1, 1))
    link = tmp_path / "data"
    link.symlink_to("old")
    stamps = FileStamps([link / "key"])
    link.unlink()
    link.symlink_to("new")
    assert stamps.have_changed()


@pytest.mark.parametrize("others", [[], ["key"]])
def test_what_changes_while_files_are_read_is_a_change(tmp_path: Path, others: list[str]) -> None:
    """A file that changes after it was read, and before its readers name the files to watch, is read once more."""
    file = tmp_path / "tenants.yaml"
    file.write_text("a")
    stamps = FileStamps([file])
    file.write_text("ab")
    stamps.watch([file, *(tmp_path / other for other in others)])
    assert stamps.have_changed()
