"""vLLM's prefill and decode rates, from what its iterations report."""

from deployments.engines.rates import BusyRate


class LoadMeter:
    """Turns iterations into tokens a second; told the time in monotonic seconds.

    Prefill is measured from a prompt's arrival at an engine that has none to the iteration that completes it: the time
    a new request would have waited, decoding of others included.
    """

    def __init__(self) -> None:
        self.prefill_rate = BusyRate()
        self.decode_rate = BusyRate()
        self._since_s = 0.0
        self._prefilling = False
        self._prefill_s = 0.0

    def arrived(self, now_s: float, *, was_idle: bool) -> None:
        """Note that a request came; `was_idle`: there was no other."""
        if was_idle:
            self._since_s = now_s
            self._prefill_s = 0.0
        self._prefilling = True

    def iterated(self, now_s: float, prefilled_tokens: int, generated_tokens: int, *, prefilling: bool) -> None:
        """Note an iteration's end.

        Args:
            now_s: when.
            prefilled_tokens: computed tokens of the prompts it completed.
            generated_tokens: tokens it sampled.
            prefilling: prompts are still incomplete.
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
