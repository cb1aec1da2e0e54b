"""Tenants whose API keys are in files."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from cluster.errors import SpecError
from cluster.spec.gateway_spec import GatewaySpec
from deployments.gateway.tenant_keys import with_keys_read


def gateway(*tenants: Mapping[str, object]) -> GatewaySpec:
    """Return a gateway with these tenants."""
    return GatewaySpec.model_validate({"tenants": tenants})


def test_a_key_in_a_file_is_known_by_its_digest(tmp_path: Path) -> None:
    """A file's key counts without the newline editors add; tenants with a digest stay as they are."""
    (tmp_path / "acme").write_text("sk-acme\n")
    other = sha256(b"sk-other").hexdigest()
    read = with_keys_read(
        gateway(
            {"name": "acme", "key_file": str(tmp_path / "acme"), "models": ["m"]}, {"name": "o", "key_sha256": other}
        )
    )
    assert [tenant.key_digests for tenant in read.tenants] == [(sha256(b"sk-acme").hexdigest(),), (other,)]
    assert read.tenants[0].models == ("m",)


def test_every_bad_key_file_is_named(tmp_path: Path) -> None:
    """A missing file, an empty one and a key that two tenants have: all told, with what would be right."""
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "same").write_text("sk")
    names = {"a": "missing", "b": "empty", "c": "same", "d": "same"}
    spec = gateway(*({"name": name, "key_file": str(tmp_path / file)} for name, file in names.items()))
    with pytest.raises(SpecError) as caught:
        with_keys_read(spec)
    assert [problem.path for problem in caught.value.problems] == [f"gateway.tenants[{n}].key_file" for n in (0, 1, 3)]
    for words in ("No such file", "must hold the API key", "'d' has the same key as 'c'"):
        assert words in str(caught.value)


def test_a_file_may_hold_two_keys(tmp_path: Path) -> None:
    """While keys are rotated a file holds the old one and the new one, each on its line; a third is refused."""
    file = tmp_path / "keys"
    file.write_text("sk-old\n\nsk-new\n")
    spec = gateway({"name": "acme", "key_file": str(file)})
    digests = tuple(sha256(key).hexdigest() for key in (b"sk-old", b"sk-new"))
    assert with_keys_read(spec).tenants[0].key_digests == digests
    file.write_text("a\nb\nc\n")
    with pytest.raises(SpecError, match="holds 3 keys; 2 may be valid at a time"):
        with_keys_read(spec)


def test_a_tenant_gives_its_key_one_way() -> None:
    """Neither way and both ways are refused, with what would be right."""
    for ways in ({}, {"key_sha256": "0" * 64, "key_file": "/x"}):
        with pytest.raises(ValueError, match="as key_sha256 or as key_file, one of the two"):
            gateway({"name": "a", **ways})
