"""Which share of a model's work each pool is to take."""

import pytest

from cluster.pool_scaling.shares import PoolCapacity, capacity_shares, whole_shares


def test_shares_follow_capacity() -> None:
    """Replicas times their rate; a rate that is not known is the mean of the others."""
    fast, slow = PoolCapacity(1, 4, 300.0), PoolCapacity(3, 4, 100.0)
    assert capacity_shares([fast, slow], is_waiting=False) == pytest.approx([0.5, 0.5])
    assert capacity_shares([fast, PoolCapacity(1, 4, 0.0)], is_waiting=True) == pytest.approx([0.5, 0.5])
    assert capacity_shares([PoolCapacity(1, 1, 0.0), PoolCapacity(3, 3, 0.0)], is_waiting=True) == [0.25, 0.75]


def test_a_pool_without_replicas_starts_when_the_others_cannot_grow() -> None:
    """Not before; of several the first in the file's order; and the first of all where none has a replica."""
    one, none, full = PoolCapacity(1, 2, 1.0), PoolCapacity(0, 2, 1.0), PoolCapacity(2, 2, 1.0)
    assert capacity_shares([one, none], is_waiting=True) == [1.0, 0.0]
    assert capacity_shares([full, none, none], is_waiting=False) == [1.0, 0.0, 0.0]
    assert capacity_shares([full, none, none], is_waiting=True) == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert capacity_shares([none, none], is_waiting=False) == [1.0, 0.0]


def test_requests_are_divided_whole() -> None:
    """One waiting request is one pool's, not a half of each."""
    assert whole_shares(1, [0.4, 0.6]) == [0, 1]
    assert whole_shares(1, [0.5, 0.5]) == [1, 0]
    assert whole_shares(10, [0.25, 0.75]) == [3, 7]
    assert whole_shares(0, [1.0]) == [0]
