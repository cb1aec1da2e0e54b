"""Leases on prompts that an engine keeps for others."""

import pytest

from deployments.engines.sim.generation.prompt import SimPrompt
from deployments.engines.sim.generation.sequence import Sequence
from deployments.engines.sim.transfer.kept_prompts import KeptPrompts


def ended(name: str) -> Sequence:
    """Return a sequence to be kept under a name."""
    sequence = Sequence(SimPrompt("text", 1.0, from_ids=False, answer_from=4), 4)
    sequence.keep_as = name
    return sequence


def test_a_lease_lasts_as_long_as_it_says() -> None:
    """Not a moment less, and what is over is told once."""
    kept = KeptPrompts(lease_s=30)
    one, two = ended("one"), ended("two")
    kept.keep(one, now_s=100)
    kept.keep(two, now_s=110)
    assert (len(kept), kept.next_end_s()) == (2, 130)
    assert list(kept.take_expired(129.9)) == []
    assert list(kept.take_expired(130)) == [one]
    assert (len(kept), kept.next_end_s()) == (1, 140)
    assert list(kept.take_expired(1000)) == [two]
    assert (len(kept), kept.next_end_s()) == (0, None)


def test_heartbeats_renew_two_thirds_of_a_lease_and_shorten_none() -> None:
    """As in vLLM: early heartbeats change nothing, later ones leave 20 of 30 s."""
    kept = KeptPrompts(lease_s=30)
    kept.keep(ended("one"), now_s=0)
    assert kept.extend("one", now_s=5)
    assert kept.next_end_s() == 30
    assert kept.extend("one", now_s=25)
    assert kept.next_end_s() == pytest.approx(45)
    assert list(kept.take_expired(44)) == []


def test_what_was_fetched_or_is_over_is_gone() -> None:
    """It can be neither fetched nor renewed, and does not expire."""
    kept = KeptPrompts(lease_s=30)
    one = ended("one")
    kept.keep(one, now_s=0)
    assert kept.take("one") is one
    assert kept.take("one") is None
    assert not kept.extend("one", now_s=1)
    assert list(kept.take_expired(100)) == []
