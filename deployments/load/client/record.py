"""What came of one request: its times and tokens, as they are kept in a run's file."""

from enum import StrEnum

import msgspec


class Counted(StrEnum):
    """How the tokens of an answer were counted."""

    USAGE = "usage"
    """The endpoint said it."""
    TOKENIZER = "tokenizer"
    """By the tokenizer that the run was given."""
    EVENTS = "events"
    """As the events of its stream, which may hold several tokens each: too few, and times between tokens too long."""


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Times are seconds from the start of the run.

    Attributes:
        session: number of its session, in the order in which they began; sub-agents have that of their agent.
        stream: number of its stream in the load.
        due_s: when it was to be sent.
        sent_s: when it was sent; opening a connection, where that was needed, comes after.
        first_s: when its first token came; None: none came.
        last_s: when its last token came.
        prompt_tokens: tokens of its prompt; None: nobody says.
        cached_tokens: those that the engine had cached; None: the endpoint does not say.
        output_tokens: tokens of its answer.
        counted: how those were counted.
        longest_gap_s: longest time between two events with tokens.
        problem: why it has no whole answer; "": it has one.
        is_warm_up: it is not in the figures.
    """

    session: int
    stream: int = 0
    due_s: float
    sent_s: float
    first_s: float | None = None
    last_s: float = 0.0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int = 0
    counted: Counted = Counted.USAGE
    longest_gap_s: float = 0.0
    problem: str = ""
    is_warm_up: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether it has a whole answer."""
        return not self.problem

    @property
    def ttft_s(self) -> float:
        """Seconds to its first token; without one, to its end."""
        return (self.last_s if self.first_s is None else self.first_s) - self.sent_s

    @property
    def tpot_s(self) -> float | None:
        """Mean seconds of a token after the first; None: it has one token, or none."""
        if self.first_s is None or self.output_tokens < 2:  # noqa: PLR2004 - two have a gap
            return None
        return (self.last_s - self.first_s) / (self.output_tokens - 1)

    @property
    def latency_s(self) -> float:
        """Seconds to its last token."""
        return self.last_s - self.sent_s

    def is_within(self, ttft_s: float | None, tpot_s: float | None) -> bool:
        """Return whether it is answered within the limits; None: there is no such limit."""
        if not self.is_answered or (ttft_s is not None and self.ttft_s > ttft_s):
            return False
        own_s = self.tpot_s
        return tpot_s is None or own_s is None or own_s <= tpot_s
