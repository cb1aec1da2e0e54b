"""Sums that forget: what happened lately, without a list of it."""

from math import exp

_STEP = 1e-3


class DecayedSums:
    """Sums whose parts fade with the time constant `tau_s`; as many of them as have names.

    They fade in steps of a thousandth of `tau_s`: a call in between costs a comparison.

    A sum divided by `span_s` is a rate: `span_s` is the time the sums cover, `tau_s` once they have run long enough.
    """

    __slots__ = ("_age_s", "_at_s", "_tau_s", "values")

    def __init__(self, tau_s: float, size: int) -> None:
        self._tau_s = tau_s
        self._at_s: float | None = None
        self._age_s = 0.0
        self.values = [0.0] * size

    def fade(self, now_s: float) -> None:
        """Let time pass; going back is passed over."""
        if self._at_s is None:
            self._at_s = now_s
        passed_s = now_s - self._at_s
        if passed_s > self._tau_s * _STEP:
            self._at_s = now_s
            self._age_s += passed_s
            kept = exp(-passed_s / self._tau_s)
            self.values = [value * kept for value in self.values]

    def span_s(self, at_least_s: float) -> float:
        """Return the time that the sums cover, but not less than `at_least_s`."""
        return max(self._tau_s * (1.0 - exp(-self._age_s / self._tau_s)), at_least_s)
