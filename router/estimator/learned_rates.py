"""One replica's learned rates: a line fitted to the times to first token of its last requests.

An outcome is one request's time to first token, with the prompt tokens prefilled in that time and the sequences that
were running.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cluster.autoscaling.ewma import kept
from router.estimator.learning.least_squares import nonnegative_fit

DEFAULT_TOKENS_PER_S: Final = 8000.0
"""Prefill rate assumed before anything is known: a mid-size model on one data-centre GPU."""
KEEP: Final = 0.97
"""Share of the earlier outcomes' weight that each new outcome leaves: in effect the last 33 outcomes count."""
FORGET_TAU_S: Final = 120.0
"""Seconds after which an outcome counts 1/e, about a third, so that a replica that was slow once is tried again."""
PRIOR_TOKENS: Final = 256.0
"""The prior counts in the fit as one outcome of this number of tokens. It is low, so the first outcomes outweigh it."""
SHARED_OUTCOMES: Final = 4.0
"""Number of outcomes that the prior counts as once it is what all replicas have learned."""
SURPRISE: Final = 4.0
"""Largest factor by which an outcome counts as slower or faster than expected, so that one hiccup makes no new rate."""
KEEP_SURPRISED: Final = 0.5
"""Used instead of `KEEP` for an outcome beyond that factor, so that several in a row do make a new rate."""
SLACK_S: Final = 0.05
"""Seconds by which an outcome may be slower or faster beyond that factor, because short times vary more."""
SAME: Final = 1.2
"""Factor within which prefill rates count as equal. Replicas on the same hardware differ by noise, and following the
noise would send all requests to the replica that looks fastest."""
FASTEST_S_PER_TOKEN: Final = 1e-7
"""Lowest fitted seconds per token, so that no fit makes a replica infinitely fast."""
FIT_EACH_UNTIL: Final = 20
"""Outcomes below which the line is fitted again after each one; a replica with fewer is new."""
FIT_EVERY: Final = 4
"""Later the line is fitted after every fourth outcome only: a fit costs as much as a pick."""
_TERMS: Final = 3


class Rates(NamedTuple):
    """Time to first token = `overhead_s` + tokens · `s_per_token` + running · `s_per_running`.

    Attributes:
        overhead_s: seconds that every request takes, even the shortest.
        s_per_token: seconds that one prompt token adds.
        s_per_running: seconds that each running sequence adds.
    """

    overhead_s: float
    s_per_token: float
    s_per_running: float


def rates_of(tokens_per_s: float = DEFAULT_TOKENS_PER_S) -> Rates:
    """Return the rates of a replica whose prefill rate alone is known."""
    return Rates(0.0, 1.0 / tokens_per_s, 0.0)


class ProbeOutcome(NamedTuple):
    """What one probe of an idle replica showed.

    Attributes:
        tokens: prompt tokens that it computed.
        ttft_s: seconds from sending it to its first token.
    """

    tokens: float
    ttft_s: float


class LearnedRates:
    """One replica's rates, fitted to the times to first token seen there.

    A replica whose rates were found by probes keeps them as its prior until it has `FIT_EACH_UNTIL` outcomes, unless
    they are the same as its peers' but for noise.

    The tokens of an outcome are the request's own uncached ones and those that waited before it. Its running sequences
    count because each takes a share of every engine step. The fit is a least-squares fit over exponentially weighted
    outcomes, with no rate below 0. The prior counts as one more outcome for each of the three rates, or as
    `SHARED_OUTCOMES` where it is what all replicas have learned, or what the engine itself says. Where engines tell
    their rate, the prior's outcomes have the usual size, in place of `PRIOR_TOKENS`: in a burst all prompts have about
    as much ahead of them while ever more sequences run, and their fit alone could make prefill look free.

    Args:
        prior: the rates to expect before there are outcomes.
        is_told: the engine itself reports its prefill rate, and that is the prior at first.

    Attributes:
        now: the rates to expect: the fitted ones, or the prior where their `s_per_token` differ by less than `SAME`.
        fitted: the rates fitted to this replica's outcomes.
        outcomes: number of outcomes learned from.
    """

    __slots__ = ("_is_told", "_prior", "_prior_outcomes", "_probed", "_sums", "fitted", "now", "outcomes")

    def __init__(self, prior: Rates, *, is_told: bool = False) -> None:
        self._is_told = is_told
        self.now = prior
        self.fitted = prior
        self.outcomes = 0
        self._prior = prior
        self._prior_outcomes = SHARED_OUTCOMES if is_told else 1.0
        self._probed: Rates | None = None
        self._sums = _Sums()

    @property
    def is_new(self) -> bool:
        """Whether it has fewer than `FIT_EACH_UNTIL` outcomes, so that the other replicas' rates say more."""
        return self.outcomes < FIT_EACH_UNTIL

    @property
    def weight(self) -> float:
        """Summed weight of its outcomes; it fades with each further outcome and with time."""
        return self._sums.weight

    @property
    def tokens_per_s(self) -> float:
        """The expected prefill rate, in prompt tokens per second."""
        return 1.0 / self.now.s_per_token

    def expected_s(self, tokens: float, running: int) -> float:
        """Return the expected seconds to first token.

        Args:
            tokens: prompt tokens to prefill until then: those waiting before the request, and its own.
            running: sequences being decoded.
        """
        return self.now.overhead_s + tokens * self.now.s_per_token + running * self.now.s_per_running

    def learn(self, ttft_s: float, tokens: float, running: int) -> None:
        """Learn from an outcome.

        Args:
            ttft_s: seconds from sending the request to its first token.
            tokens: prompt tokens prefilled in that time, about.
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

    def learn_probes(self, probes: Sequence[ProbeOutcome]) -> None:
        """Learn from probes of the idle replica, at least one, before it has had any request.

        Nothing is known yet that could make them a surprise, so they replace the prior; then they count as outcomes.
        """
        self.now = self._prior = self._probed = rates_through(probes)
        self._prior_outcomes = SHARED_OUTCOMES
        for probe in probes:
            self.learn(probe.ttft_s, probe.tokens, 0)

    def relax(self, passed_s: float, shared: Rates) -> None:
        """Fade this replica's outcomes by `passed_s` seconds, and take `shared`, the mean of all replicas, as prior."""
        self._fade(kept(passed_s, FORGET_TAU_S))
        self.expect(shared)

    def expect(self, shared: Rates) -> None:
        """Take `shared`, the mean rates of all replicas, as prior, unless its own are known better by probes."""
        probed = self._probed
        is_told_apart = probed is not None and self.is_new and not _is_same(probed, shared)
        self._prior = probed if probed is not None and is_told_apart else shared
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
        running_squared = ones
        if self._is_told and sums.weight:
            squared = ones * max(PRIOR_TOKENS**2, sums.tokens_tokens / sums.weight)
            running_squared = ones * max(1.0, sums.running_running / sums.weight)
        moments = [
            [sums.weight + ones, sums.tokens, sums.running],
            [sums.tokens, sums.tokens_tokens + squared, sums.tokens_running],
            [sums.running, sums.tokens_running, sums.running_running + running_squared],
        ]
        xy = [
            sums.ttft + ones * prior.overhead_s,
            sums.tokens_ttft + squared * prior.s_per_token,
            sums.running_ttft + running_squared * prior.s_per_running,
        ]
        overhead_s, s_per_token, s_per_running = nonnegative_fit(moments, xy)
        self.fitted = Rates(overhead_s, max(s_per_token, FASTEST_S_PER_TOKEN), s_per_running)
        self.now = prior if _is_same(self.fitted, prior) else self.fitted


def _is_same(rates: Rates, others: Rates) -> bool:
    """Tell whether two prefill rates differ by no more than noise."""
    return 1.0 / SAME < rates.s_per_token / others.s_per_token < SAME


@dataclass
class _Sums:
    """Weighted sums over outcomes: of tokens, running sequences and seconds, and of their products."""

    weight: float = 0.0
    tokens: float = 0.0
    running: float = 0.0
    tokens_tokens: float = 0.0
    tokens_running: float = 0.0
    running_running: float = 0.0
    ttft: float = 0.0
    tokens_ttft: float = 0.0
    running_ttft: float = 0.0


def rates_through(probes: Sequence[ProbeOutcome]) -> Rates:
    """Return the line through probes' times to first token. Of one length alone it has no overhead."""
    lengths = {probe.tokens for probe in probes}
    if len(lengths) == 1:
        ttft_s = sum(probe.ttft_s for probe in probes) / len(probes)
        return Rates(0.0, max(ttft_s / lengths.pop(), FASTEST_S_PER_TOKEN), 0.0)
    tokens = sum(probe.tokens for probe in probes)
    moments = [[float(len(probes)), tokens], [tokens, sum(probe.tokens**2 for probe in probes)]]
    xy = [sum(probe.ttft_s for probe in probes), sum(probe.tokens * probe.ttft_s for probe in probes)]
    overhead_s, s_per_token = nonnegative_fit(moments, xy)
    return Rates(overhead_s, max(s_per_token, FASTEST_S_PER_TOKEN), 0.0)


def shared_rates(replicas: Iterable[LearnedRates]) -> Rates | None:
    """Return the replicas' mean rates, each weighted by its outcomes' `weight`; None: none has outcomes."""
    learned = [replica for replica in replicas if replica.weight > 0.0]
    weight = sum(replica.weight for replica in learned)
    if not weight:
        return None
    return Rates(
        *(sum(replica.weight * replica.fitted[term] for replica in learned) / weight for term in range(_TERMS))
    )
