"""Replicas that cannot hand KV blocks to one another are told apart at their start."""

from dataclasses import replace

from deployments.replica.partners import why_unfit
from router.replicas.endpoint import Endpoint
from router.replicas.kv_transfer import KvTransfer

SENDS = KvTransfer("NixlConnector", sends=True, receives=False, block_tokens=32, layout="bf16")
RECEIVES = KvTransfer("NixlConnector", sends=False, receives=True, block_tokens=32, layout="bf16")


def row(name: str, transfer: KvTransfer | None, model: str = "m") -> Endpoint:
    """Return a replica's row."""
    return Endpoint(name, model, "10.0.0.1", 80, transfer=transfer)


def test_a_replica_that_fits_none_is_told_why() -> None:
    """In the words of the comparison, with the name of the replica it was compared with; either may come first."""
    other_blocks = replace(RECEIVES, block_tokens=16)
    assert why_unfit(row("d0", other_blocks), [row("p0", SENDS)]) == (
        "KV blocks cannot go between this replica and p0: their KV blocks have 32 and 16 tokens"
    )
    assert "d0: their KV blocks are laid out differently: 'bf16' and 'fp8'" in why_unfit(
        row("p0", SENDS), [row("d0", replace(RECEIVES, layout="fp8"))]
    )


def test_one_that_fits_is_enough() -> None:
    """Others may be of a pool that is just being replaced."""
    rows = [row("d0", replace(RECEIVES, block_tokens=16)), row("d1", RECEIVES)]
    assert why_unfit(row("p0", SENDS), rows) == ""
    assert why_unfit(row("p0", SENDS), rows[::-1]) == ""


def test_without_a_partner_nothing_is_wrong() -> None:
    """The first of two pools to start has none; its own kind, other models, its own row and plain replicas are none."""
    unfit = replace(RECEIVES, block_tokens=16)
    rows = [row("p1", SENDS), row("x", unfit, model="another"), row("p0", unfit), row("plain", None)]
    assert why_unfit(row("p0", SENDS), rows) == ""
    assert why_unfit(row("plain", None), [row("d0", RECEIVES)]) == ""
