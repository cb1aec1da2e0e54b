"""How long one replica takes to its first token, learned from how long it took: a line fitted to the last outcomes."""

from collections.abc import Sequence

DEFAULT_TOKENS_PER_S = 8000.0
"""Prefill rate assumed before anything is known: a mid-size model on one data-centre GPU."""
KEEP = 0.97
"""What each outcome leaves of the weight of those before: the last 33 count."""
PRIOR_TOKENS = 256.0
"""The prior weighs as much as one outcome of so many tokens: the first real ones outweigh it."""
SURPRISE = 4.0
"""An outcome counts as at most so many times (or fractions of) what was expected, so that one hiccup is no new rate."""
SLACK_S = 0.05
FASTEST_S_PER_TOKEN = 1e-7
_TERMS = 3


class LearnedRates:
    """One replica's time to first token = `overhead_s` + tokens · `s_per_token` + running · `s_per_running`.

    Tokens are those prefilled before the first token came: the request's own uncached ones and those that waited before
    it. Running are the sequences that were being decoded: each takes its share of every step. Fitted by least squares
    over exponentially weighted outcomes, all three at least 0, with a prior that fades as outcomes come.

    Attributes:
        overhead_s: what every request costs, however short.
        s_per_token: seconds one prompt token takes.
        s_per_running: seconds each running sequence adds.
        outcomes: how many were learned from.
    """

    __slots__ = ("_moments", "_xy", "outcomes", "overhead_s", "s_per_running", "s_per_token")

    def __init__(self, tokens_per_s: float = DEFAULT_TOKENS_PER_S) -> None:
        self.outcomes = 0
        self.overhead_s = 0.0
        self.s_per_running = 0.0
        self.s_per_token = 1.0 / tokens_per_s
        # one pseudo-outcome a term: none of them is left undetermined, whatever comes
        self._moments = [[1.0, 0.0, 0.0], [0.0, PRIOR_TOKENS**2, 0.0], [0.0, 0.0, 1.0]]
        self._xy = [0.0, PRIOR_TOKENS**2 / tokens_per_s, 0.0]

    @property
    def tokens_per_s(self) -> float:
        """The prefill rate."""
        return 1.0 / self.s_per_token

    def expected_s(self, tokens: float, running: int) -> float:
        """Return the expected time to first token behind and including `tokens`."""
        return self.overhead_s + tokens * self.s_per_token + running * self.s_per_running

    def learn(self, ttft_s: float, tokens: float, running: int) -> None:
        """Take an outcome.

        Args:
            ttft_s: from sending the request to its first token.
            tokens: prefilled in that time, as best known.
            running: sequences that were being decoded.
        """
        expected_s = self.expected_s(tokens, running)
        ttft_s = min(max(ttft_s, expected_s / SURPRISE - SLACK_S, 0.0), expected_s * SURPRISE + SLACK_S)
        features = (1.0, tokens, float(running))
        moments, xy = self._moments, self._xy
        for i in range(_TERMS):
            xy[i] = KEEP * xy[i] + features[i] * ttft_s
            row = moments[i]
            for j in range(_TERMS):
                row[j] = KEEP * row[j] + features[i] * features[j]
        self.outcomes += 1
        overhead_s, s_per_token, s_per_running = nonnegative_fit(moments, xy)
        self.overhead_s = overhead_s
        self.s_per_running = s_per_running
        self.s_per_token = max(s_per_token, FASTEST_S_PER_TOKEN)


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
