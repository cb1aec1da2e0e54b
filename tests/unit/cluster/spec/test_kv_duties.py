"""Which KV blocks the replicas of a pool pass on."""

import pytest

from cluster.spec.kv_duties import KvDuties
from cluster.spec.role import Role

BOTH, PREFILL, DECODE = Role.BOTH, Role.PREFILL, Role.DECODE


@pytest.mark.parametrize(
    ("role", "others", "sends", "receives"),
    [
        (PREFILL, [DECODE], True, False),
        (DECODE, [PREFILL], False, True),
        (DECODE, [BOTH, DECODE], False, True),
        (BOTH, [], False, False),
        (BOTH, [BOTH], False, False),
        (BOTH, [PREFILL], False, True),
        (BOTH, [DECODE], True, False),
        (BOTH, [PREFILL, DECODE], True, True),
    ],
)
def test_duties_follow_from_a_models_pools(role: Role, others: list[Role], *, sends: bool, receives: bool) -> None:
    """A pool that does both does for the others what they leave out; alone it needs no connector."""
    duties = KvDuties.of(role, others)
    assert duties == KvDuties(sends=sends, receives=receives)
    assert bool(duties) is (sends or receives)
