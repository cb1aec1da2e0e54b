"""Step times of an engine whose speed was measured, for hardware that the planner does not know."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from cluster.planning.option import STEP_TOKENS
from cluster.spec.parts.part import Part
from deployments.simulator.disaggregation.step_times import Chunk

_Cost = Annotated[float, Field(ge=0)]


class MeasuredSteps(Part):
    """How long the steps of an engine take, in seconds, and what it holds.

    Attributes:
        step_s: of a step in which sequences get tokens.
        prompt_step_s: of a step with prompts alone; unset: as the others. Where steps read all weights in any case, and
            prompts are computed meanwhile, it is shorter.
        sequence_s: of each sequence that gets a token.
        context_token_s: of each token that those attend to.
        prompt_token_s: of each prompt token.
        attended_s: of each token that a prompt token attends to.
        kv_tokens: tokens that its KV cache holds.
        step_tokens: tokens of its largest step.
        sequences: most sequences that it runs at once.
    """

    step_s: Annotated[float, Field(gt=0)]
    prompt_step_s: _Cost | None = None
    sequence_s: _Cost = 0.0
    context_token_s: _Cost = 0.0
    prompt_token_s: _Cost = 0.0
    attended_s: _Cost = 0.0
    kv_tokens: Annotated[int, Field(ge=1)]
    step_tokens: Annotated[int, Field(ge=1)] = STEP_TOKENS
    sequences: Annotated[int, Field(ge=1)] = 256


class MeasuredTimes:
    """Step times of one engine; `EngineTimes` says what the methods return.

    Args:
        steps: what was measured.

    Attributes:
        lanes: one.
        stages: one.
        tokens_per_step: one.
        steps: what was measured.
    """

    def __init__(self, steps: MeasuredSteps) -> None:
        self.lanes = self.stages = 1
        self.tokens_per_step = 1.0
        self.steps = steps

    def step_s(self, running: int, context: int, chunks: Sequence[Chunk]) -> float:
        """Return the seconds of a step."""
        steps = self.steps
        seconds = steps.step_s
        if not running and steps.prompt_step_s is not None:
            seconds = steps.prompt_step_s
        seconds += steps.sequence_s * running + steps.context_token_s * context
        for _, tokens, attended in chunks:
            seconds += tokens * (steps.prompt_token_s + steps.attended_s * attended)
        return seconds

    def growth_s(self, running: int, context: int) -> float:
        """Return the seconds that each step takes longer: every sequence attends to one token more."""
        del context
        return self.steps.context_token_s * running

    def prompt_growth_s(self, tokens: int, attended: float) -> float:
        """Return the seconds that each step takes longer, as its tokens attend to those of the step before."""
        del attended
        return self.steps.attended_s * tokens * tokens
