"""Measures vLLM's prefill and decode rates from its iterations' reports."""

from deployments.engines.rates import BusyRate


class LoadMeter:
    """Computes rates in tokens per second from iterations; times are monotonic seconds.

    The prefill rate counts all time in which prompts are incomplete, decoding of other requests included, because a new
    request would wait for as long.

    Attributes:
        prefill_rate: prompt tokens per second.
        decode_rate: generated tokens per second.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget what was measured."""
        self.prefill_rate = BusyRate()
        self.decode_rate = BusyRate()
        self._since_s = 0.0
        self._prefilling = False
        self._prefill_s = 0.0

    def arrived(self, now_s: float, *, was_idle: bool) -> None:
        """Record the arrival of a request; `was_idle`: the engine had no other."""
        if was_idle:
            self._since_s = now_s
            self._prefill_s = 0.0
        self._prefilling = True

    def iterated(self, now_s: float, prefilled_tokens: int, generated_tokens: int, *, prefilling: bool) -> None:
        """Record the end of an iteration.

        Args:
            now_s: when it ended, monotonic seconds.
            prefilled_tokens: computed tokens of the prompts that it completed.
            generated_tokens: tokens that it sampled.
            prefilling: some prompts are still incomplete.
        """
        passed_s = max(0.0, now_s - self._since_s)
        self._since_s = now_s
        if self._prefilling:
            self._prefill_s += passed_s
        if prefilled_tokens:
            self.prefill_rate.observe(prefilled_tokens, self._prefill_s)
            self._prefill_s = 0.0
        if generated_tokens and passed_s:
            self.decode_rate.observe(generated_tokens, passed_s)
        self._prefilling = prefilling
