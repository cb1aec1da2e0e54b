"""The simulated engine's drafts: how many tokens are right, and what that makes of steps and rates."""

import pytest

from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_parts.speculative_spec import NO_SPECULATION, SpeculativeSpec
from deployments.engines.events import KvEventHub
from deployments.engines.sim.generation.drafting import Drafting, drafting_of
from deployments.engines.sim.generation.prompt import SimPrompt, units_of_ids
from deployments.engines.sim.generation.scheduler import SimScheduler
from deployments.engines.sim.generation.sequence import Sequence

NGRAM = SpeculativeSpec(method="ngram", tokens=4)
SIM = SimSpec(inter_token_s=0.01, inter_token_per_seq_s=0.001, kv_blocks=4096, block_tokens=16, draft_token_s=0.0005)


def _tails(count: int) -> list[str]:
    return [f"the text number {number} so far" for number in range(count)]


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.8, 1.0])
def test_the_share_of_right_tokens_is_the_files(acceptance: float) -> None:
    """Each token is right with that probability where those before it were: (1 - a^5) / (1 - a) tokens a step."""
    drafting = Drafting(NGRAM, SIM.model_copy(update={"acceptance": acceptance, "draft_share": 1.0}))
    accepted = [drafting.draft(tail).accepted for tail in _tails(4_000)]
    wanted = sum(acceptance**place for place in range(1, 5))
    assert sum(accepted) / len(accepted) == pytest.approx(wanted, abs=0.08)


def test_drafts_are_found_in_a_share_of_steps_and_always_by_a_model() -> None:
    """What is looked up in texts is not always there; a model drafts whenever it is asked."""
    for method, wanted in (("ngram", 0.6), ("suffix", 0.6), ("mtp", 1.0)):
        drafting = Drafting(
            SpeculativeSpec.model_validate({"method": method, "tokens": 2}), SIM.model_copy(update={"draft_share": 0.6})
        )
        found = sum(bool(drafting.draft(tail).tokens) for tail in _tails(2_000))
        assert found / 2_000 == pytest.approx(wanted, abs=0.05)
    assert drafting_of(NO_SPECULATION, SIM) is None


def test_a_text_is_drafted_alike_everywhere() -> None:
    """So that a run can be repeated, and an answer that goes on elsewhere is the same."""
    one, other = Drafting(NGRAM, SIM), Drafting(NGRAM, SIM)
    assert [one.draft(tail) for tail in _tails(200)] == [other.draft(tail) for tail in _tails(200)]


def _decode_rate(drafting: Drafting | None, *, sequences: int = 4) -> tuple[float, SimScheduler]:
    """Decode 400 steps; return the tokens a second that came out."""
    scheduler = SimScheduler(SIM, KvEventHub(), drafting=drafting)
    for number in range(sequences):
        units = units_of_ids(range(100 * number, 100 * number + 10))
        scheduler.add(Sequence(SimPrompt(units, 1.0, from_ids=True, answer_from=10), SIM.block_tokens))
    tokens = seconds = 0.0
    for _ in range(400):
        seconds += scheduler.begin_step() or 0.0
        for sequence in scheduler.end_step():
            for place in range(1 + scheduler.accepted(sequence)):
                assert scheduler.append(sequence, chr(97 + (int(tokens) * 7 + place) % 26))
                tokens += 1
        scheduler.check_integrity()
    return tokens / seconds, scheduler


@pytest.mark.parametrize("acceptance", [0.05, 0.5, 0.9])
def test_the_learned_decode_rate_follows(acceptance: float) -> None:
    """The rate that is reported is that of the tokens that came out, drafted ones included; so is the speed-up."""
    without, _ = _decode_rate(None)
    with_drafts, scheduler = _decode_rate(Drafting(NGRAM, SIM.model_copy(update={"acceptance": acceptance})))
    assert scheduler.decode_rate.per_s == pytest.approx(with_drafts, rel=0.1)
    assert scheduler.speculation is not None
    told = scheduler.speculation.report()
    assert told.speedup == pytest.approx(with_drafts / without, rel=0.1)
    assert (told.speedup < 1) == (acceptance == 0.05)
    assert told.tokens_per_step == pytest.approx(1 + told.accepted_tokens / (400 * 4), rel=0.05)
