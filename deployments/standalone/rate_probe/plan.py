"""Which prompts to probe a server with, one after the other, and what their times say. Pure: the caller asks and times.

The first two are short: whatever a first request alone takes, such as compiling, is not in the second one's time. Then
they get longer as long as the server is quick, and the longest one is sent twice. Of each length the shortest time
counts, since whatever disturbs a probe makes it longer.
"""

from typing import Final, NamedTuple

from router.estimator.learned_rates import ProbeOutcome

BUDGET_S: Final = 1.0
"""Most seconds for which a server works on probes, all together."""
LONGEST_S: Final = 0.25
"""Longest time that a probe may be expected to take, seconds. A user's request waits for the step under way."""
SHORTEST_TOKENS: Final = 16
"""Tokens of the first prompts: so few that a slow server, too, answers a longer one within its second."""
LONGEST_TOKENS: Final = 2048
"""Most tokens of a prompt: one step of most engines, and a few thousandths of a usual KV cache."""
GROWTH: Final = 4
"""Factor by which a prompt is longer than the one before, where the server is quick."""
LEAST_GROWTH: Final = 2
"""Factor below which a longer prompt tells nothing new."""
DECODED_TOKENS: Final = 5
"""Tokens of the one answer by which the decode rate is seen; all others have one."""
LEAST_PROBES: Final = 2
"""Answers without which nothing is known: the first alone may have taken anything."""


class Probe(NamedTuple):
    """One probe.

    Attributes:
        tokens: about how many tokens its prompt has.
        answer_tokens: tokens of the answer that it asks for.
    """

    tokens: int
    answer_tokens: int


class ProbePlan:
    """The probes of one server.

    Args:
        most_tokens: longest prompt that the server can take.

    Attributes:
        spent_s: seconds that the server has worked on probes.
    """

    def __init__(self, most_tokens: int) -> None:
        self.spent_s = 0.0
        self._most_tokens = min(LONGEST_TOKENS, most_tokens)
        self._shortest_s: dict[int, ProbeOutcome] = {}
        self._sent: list[int] = []

    @property
    def left_s(self) -> float:
        """Seconds that the server may still work on probes."""
        return max(0.0, BUDGET_S - self.spent_s)

    def next_probe(self) -> Probe | None:
        """Return the next probe; None: no further one is needed, or may be sent."""
        first = min(SHORTEST_TOKENS, self._most_tokens)
        if not self._sent:
            return Probe(first, 1) if self.left_s > 0.0 and first > 0 else None
        longest = max(self._shortest_s)
        took_s = self._shortest_s[longest].ttft_s
        if len(self._sent) == 1:
            tokens = first
        else:
            # Its time grows at most as its length does, since each request takes some time whatever its length.
            affordable = int(longest * min(LONGEST_S, self.left_s) / took_s) if took_s > 0.0 else self._most_tokens
            tokens = min(longest * GROWTH, self._most_tokens, affordable)
            if tokens < longest * LEAST_GROWTH:
                tokens = longest
        if tokens == longest and self._sent.count(longest) > 1:
            return None
        if took_s * tokens / longest > self.left_s:
            return None
        return Probe(tokens, DECODED_TOKENS if len(self._sent) == 1 else 1)

    def answered(self, tokens: int, computed_tokens: float, ttft_s: float, took_s: float) -> None:
        """Take in the answer to a probe.

        Args:
            tokens: its `Probe.tokens`.
            computed_tokens: prompt tokens that the server computed.
            ttft_s: seconds to its first token.
            took_s: seconds to its end.
        """
        self.spent_s += took_s
        self._sent.append(tokens)
        before = self._shortest_s.get(tokens)
        if before is None or ttft_s < before.ttft_s:
            self._shortest_s[tokens] = ProbeOutcome(max(1.0, computed_tokens), ttft_s)

    def gave_up(self, after_s: float) -> None:
        """Take in that a probe was given up, or not answered, after some seconds."""
        self.spent_s += after_s

    @property
    def outcomes(self) -> list[ProbeOutcome]:
        """What is known by the answers up to now: one outcome for each length; [] if there are too few answers."""
        if len(self._sent) < LEAST_PROBES:
            return []
        return [self._shortest_s[tokens] for tokens in sorted(self._shortest_s)]
