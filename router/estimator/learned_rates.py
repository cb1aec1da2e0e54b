"""How long one replica takes to its first token, learned from how long it took: a line fitted to the last outcomes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp
from typing import NamedTuple

DEFAULT_TOKENS_PER_S = 8000.0
"""Prefill rate assumed before anything is known: a mid-size model on one data-centre GPU."""
KEEP = 0.97
"""What each outcome leaves of the weight of those before: the last 33 count."""
FORGET_TAU_S = 120.0
"""Time constant at which outcomes fade, so that a replica nobody dared to use is tried again."""
PRIOR_TOKENS = 256.0
"""The prior weighs as much as one outcome of so many tokens: the first real ones outweigh it."""
SHARED_OUTCOMES = 4.0
"""What all replicas have learned weighs as much as so many outcomes where it is the prior."""
SURPRISE = 4.0
"""An outcome counts as at most so many times (or fractions of) what was expected, so that one hiccup is no new rate."""
KEEP_SURPRISED = 0.5
"""Keeps so much of what was learned before a surprise instead of `KEEP`: several in a row are a new rate."""
SLACK_S = 0.05
SAME = 1.2
"""Replicas whose prefill rates differ by less than this factor are taken to be the same hardware: the difference is
noise, and following it would send everything to whichever looks fastest."""
FASTEST_S_PER_TOKEN = 1e-7
FIT_EACH_UNTIL = 20
FIT_EVERY = 4
"""The line is fitted anew for each of the first outcomes, then for every fourth: a fit costs as much as a pick."""
_TERMS = 3


class Rates(NamedTuple):
    """Time to first token = `overhead_s` + tokens · `s_per_token` + running · `s_per_running`.

    Attributes:
        overhead_s: what every request costs, however short.
        s_per_token: seconds one prompt token takes.
        s_per_running: seconds each running sequence adds.
    """

    overhead_s: float
    s_per_token: float
    s_per_running: float


def rates_of(tokens_per_s: float = DEFAULT_TOKENS_PER_S) -> Rates:
    """Return the rates of a replica of which only its prefill rate is known."""
    return Rates(0.0, 1.0 / tokens_per_s, 0.0)


class LearnedRates:
    """One replica's rates, fitted to how long requests took there.

    Tokens are those prefilled before the first token came: the request's own uncached ones and those that waited before
    it. Running are the sequences that were being decoded: each takes its share of every step. Fitted by least squares
    over exponentially weighted outcomes, no rate below 0, with the prior as one more outcome for each term, or as
    `SHARED_OUTCOMES` where it is what all replicas have learned.

    Attributes:
        now: the rates to expect: the fitted ones, or the prior's where the two differ no more than `SAME`.
        fitted: the rates as learned here.
        outcomes: how many were learned from.
    """

    __slots__ = ("_prior", "_prior_outcomes", "_sums", "fitted", "now", "outcomes")

    def __init__(self, prior: Rates) -> None:
        self.now = prior
        self.fitted = prior
        self.outcomes = 0
        self._prior = prior
        self._prior_outcomes = 1.0
        self._sums = _Sums()

    @property
    def is_new(self) -> bool:
        """So little was learned here that what other replicas have learned says more."""
        return self.outcomes < FIT_EACH_UNTIL

    @property
    def weight(self) -> float:
        """What the outcomes count for by now; it fades with each further one and with time."""
        return self._sums.weight

    @property
    def tokens_per_s(self) -> float:
        """The prefill rate."""
        return 1.0 / self.now.s_per_token

    def expected_s(self, tokens: float, running: int) -> float:
        """Return the expected time to first token behind and including `tokens`."""
        return self.now.overhead_s + tokens * self.now.s_per_token + running * self.now.s_per_running

    def learn(self, ttft_s: float, tokens: float, running: int) -> None:
        """Take an outcome.

        Args:
            ttft_s: from sending the request to its first token.
            tokens: prefilled in that time, as best known.
            running: sequences that were being decoded.
        """
        expected_s = self.expected_s(tokens, running)
        believed_s = min(max(ttft_s, expected_s / SURPRISE - SLACK_S, 0.0), expected_s * SURPRISE + SLACK_S)
        self._fade(KEEP if believed_s == ttft_s else KEEP_SURPRISED)
        ttft_s = believed_s
        sums = self._sums
        sums.weight += 1.0
        sums.tokens += tokens
        sums.running += running
        sums.tokens_tokens += tokens * tokens
        sums.tokens_running += tokens * running
        sums.running_running += running * running
        sums.ttft += ttft_s
        sums.tokens_ttft += tokens * ttft_s
        sums.running_ttft += running * ttft_s
        self.outcomes += 1
        if self.outcomes < FIT_EACH_UNTIL or not self.outcomes % FIT_EVERY:
            self._fit()

    def relax(self, passed_s: float, shared: Rates) -> None:
        """Let time pass: what was learned gives way to `shared`, what is known of all replicas."""
        self._fade(exp(-passed_s / FORGET_TAU_S))
        self.expect(shared)

    def expect(self, shared: Rates) -> None:
        """Take what is known of all replicas for the prior."""
        self._prior = shared
        self._prior_outcomes = SHARED_OUTCOMES
        self._fit()

    def _fade(self, keep: float) -> None:
        sums = self._sums
        sums.weight *= keep
        sums.tokens *= keep
        sums.running *= keep
        sums.tokens_tokens *= keep
        sums.tokens_running *= keep
        sums.running_running *= keep
        sums.ttft *= keep
        sums.tokens_ttft *= keep
        sums.running_ttft *= keep

    def _fit(self) -> None:
        sums, prior = self._sums, self._prior
        ones = self._prior_outcomes
        squared = ones * PRIOR_TOKENS**2
        moments = [
            [sums.weight + ones, sums.tokens, sums.running],
            [sums.tokens, sums.tokens_tokens + squared, sums.tokens_running],
            [sums.running, sums.tokens_running, sums.running_running + ones],
        ]
        xy = [
            sums.ttft + ones * prior.overhead_s,
            sums.tokens_ttft + squared * prior.s_per_token,
            sums.running_ttft + ones * prior.s_per_running,
        ]
        overhead_s, s_per_token, s_per_running = nonnegative_fit(moments, xy)
        self.fitted = Rates(overhead_s, max(s_per_token, FASTEST_S_PER_TOKEN), s_per_running)
        same = 1.0 / SAME < self.fitted.s_per_token / prior.s_per_token < SAME
        self.now = prior if same else self.fitted


@dataclass(slots=True)
class _Sums:
    """Weighted sums over outcomes, and over the products of their figures."""

    weight: float = 0.0
    tokens: float = 0.0
    running: float = 0.0
    tokens_tokens: float = 0.0
    tokens_running: float = 0.0
    running_running: float = 0.0
    ttft: float = 0.0
    tokens_ttft: float = 0.0
    running_ttft: float = 0.0


def shared_rates(replicas: Iterable[LearnedRates]) -> Rates | None:
    """Return the mean rates of replicas, by how much each has learned lately; None where none has."""
    learned = [replica for replica in replicas if replica.weight > 0.0]
    weight = sum(replica.weight for replica in learned)
    if not weight:
        return None
    return Rates(
        *(sum(replica.weight * replica.fitted[term] for replica in learned) / weight for term in range(_TERMS))
    )


def nonnegative_fit(moments: Sequence[Sequence[float]], xy: Sequence[float]) -> list[float]:
    """Solve the normal equations, with terms that would come out negative left out, the most negative first."""
    terms = list(range(len(xy)))
    while terms:
        solution = _solve([[moments[i][j] for j in terms] for i in terms], [xy[i] for i in terms])
        worst = min(range(len(terms)), key=solution.__getitem__)
        if solution[worst] >= 0.0:
            result = [0.0] * len(xy)
            for term, value in zip(terms, solution, strict=True):
                result[term] = value
            return result
        del terms[worst]
    return [0.0] * len(xy)


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve a small symmetric positive definite system by elimination; terms nothing is known of come out as 0."""
    size = len(right)
    scale = [matrix[i][i] for i in range(size)]
    for i in range(size):
        pivot = matrix[i][i]
        if pivot <= 1e-12 * scale[i]:
            matrix[i] = [1.0 if j == i else 0.0 for j in range(size)]
            right[i] = 0.0
            continue
        for k in range(i + 1, size):
            factor = matrix[k][i] / pivot
            for j in range(i, size):
                matrix[k][j] -= factor * matrix[i][j]
            right[k] -= factor * right[i]
    for i in reversed(range(size)):
        known = sum(matrix[i][j] * right[j] for j in range(i + 1, size))
        right[i] = (right[i] - known) / matrix[i][i]
    return right
