"""Measures vLLM's prefill and decode rates, and what speculative decoding brings, from its iterations' reports."""

from collections.abc import Sequence
from typing import NamedTuple

from deployments.engines.rates import BusyRate
from deployments.engines.speculation_meter import SpeculationMeter
from deployments.engines.step_meter import NO_ANSWERS, AnswersBeside, StepMeter


class StepDrafts(NamedTuple):
    """The drafts that one iteration verified.

    Attributes:
        drafts: sequences that had a draft.
        draft_tokens: tokens of their drafts.
        accepted_by_position: those of them that were right, by their place in the draft.
    """

    drafts: int = 0
    draft_tokens: int = 0
    accepted_by_position: Sequence[int] = ()


NO_DRAFTS = StepDrafts()


class LoadMeter:
    """Computes one rank's rates in tokens per second from its iterations; times are monotonic seconds.

    Data-parallel ranks that share experts step together, so a step takes as long as on the rank with most to do. A
    rank's own steps show that: they are as long as a request there finds them.

    The prefill rate counts all time in which prompts are incomplete, decoding of other requests included, because a new
    request would wait for as long.

    Attributes:
        prefill_rate: prompt tokens per second.
        decode_rate: generated tokens per second.
        speculation: measures what drafts bring.
        steps: measures how full and how fast its steps are.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget what was measured."""
        self.prefill_rate = BusyRate()
        self.decode_rate = BusyRate()
        self.speculation = SpeculationMeter()
        self.steps = StepMeter()
        self._step_since_s: float | None = None
        self._since_s = 0.0
        self._prefilling = False
        self._prefill_s = 0.0
        self._prefill_steps = 0
        self._beside = NO_ANSWERS

    def arrived(self, now_s: float, *, was_idle: bool) -> None:
        """Record the arrival of a request; `was_idle`: the engine had no other."""
        if was_idle:
            self._since_s = now_s
            self._prefill_s, self._prefill_steps, self._beside = 0.0, 0, NO_ANSWERS
        self._prefilling = True

    def iterated(  # noqa: PLR0913 - what an iteration is
        self,
        now_s: float,
        prefilled_tokens: int,
        generated_tokens: int,
        *,
        prefilling: bool,
        sequences: int = 0,
        drafts: StepDrafts = NO_DRAFTS,
    ) -> None:
        """Record the end of an iteration.

        Args:
            now_s: when it ended, monotonic seconds.
            prefilled_tokens: computed tokens of the prompts that it completed.
            generated_tokens: tokens that it sampled.
            prefilling: some prompts are still incomplete.
            sequences: sequences that got tokens after their first.
            drafts: what it verified.
        """
        self._stepped(now_s, prefilled_tokens, generated_tokens, sequences, drafts, is_pure=not prefilling)
        passed_s = max(0.0, now_s - self._since_s)
        self._since_s = now_s
        if self._prefilling:
            self._prefill_s += passed_s
            self._prefill_steps += 1
            tokens = sequences + sum(drafts.accepted_by_position)
            self._beside = AnswersBeside(self._beside.steps + min(sequences, 1), self._beside.tokens + tokens)
        if prefilled_tokens:
            self.prefill_rate.observe(prefilled_tokens, self._prefill_s)
            steps = max(1, self._prefill_steps)
            self.steps.prefilled(prefilled_tokens, steps, self._prefill_s, self._beside)
            self._prefill_s, self._prefill_steps, self._beside = 0.0, 0, NO_ANSWERS
        if generated_tokens and passed_s:
            self.decode_rate.observe(generated_tokens, passed_s)
        self._prefilling = prefilling

    def _stepped(  # noqa: PLR0913 - what an iteration is
        self,
        now_s: float,
        prefilled: int,
        generated: int,
        sequences: int,
        drafts: StepDrafts,
        *,
        is_pure: bool,
    ) -> None:
        if drafts.drafts:
            self.speculation.verified(*drafts)
        since_s, self._step_since_s = self._step_since_s, now_s
        if since_s is not None and is_pure and not prefilled and not self._prefilling:
            self.speculation.decoded(now_s - since_s, sequences, drafts.draft_tokens, generated)
            if sequences and generated:
                self.steps.decoded(sequences, generated, now_s - since_s)
