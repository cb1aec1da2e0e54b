"""The operators' key is read from its file; only its digest is kept."""

from hashlib import sha256
from pathlib import Path

import pytest

from cluster.errors import SpecError
from cluster.spec.gateway_spec import GatewaySpec
from deployments.gateway.admin_key import with_admin_key_read


def test_a_key_file_becomes_its_digest(tmp_path: Path) -> None:
    """White space at the end, as editors leave it, is no part of the key."""
    file = tmp_path / "key"
    file.write_text("op\n")
    read = with_admin_key_read(GatewaySpec(admin_key_file=str(file)))
    assert (read.admin_key_sha256, read.admin_key_file) == (sha256(b"op").hexdigest(), "")


def test_a_key_file_that_has_no_key_is_a_mistake(tmp_path: Path) -> None:
    """One that is not there, or empty, does not leave the port open."""
    for file in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").touch()
        with pytest.raises(SpecError, match="admin_key_file"):
            with_admin_key_read(GatewaySpec(admin_key_file=str(file)))


def test_one_key_at_a_time() -> None:
    """The key is given by its digest or by its file."""
    with pytest.raises(ValueError, match="not as both"):
        GatewaySpec(admin_key_file="f", admin_key_sha256="0" * 64)
