"""The fields that all requests for text share, and their checks: the values that vLLM 0.32 refuses are refused."""

from typing import Annotated, Any, Final

import msgspec

from deployments.engines.sim.api.errors import RequestError, bad_request, bad_value, invalid_body
from deployments.engines.sim.generation.prompt import VOCAB_SIZE

MAX_CHOICES: Final = 128
"""Most answers that one request may ask for with `n`; vLLM has such a limit too."""
MAX_LOGPROBS: Final = 20
"""Most alternatives to a token whose log-probabilities may be asked for: vLLM's default."""
MAX_STOPS: Final = 4
"""Most stop strings of a request: vLLM's default."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class StreamOptions(msgspec.Struct):
    """`stream_options`."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class SamplingRequest(msgspec.Struct, kw_only=True):
    """What chat and completion requests share. Of the sampling parameters only `seed` and `n` have an effect here."""

    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    n: int | None = 1
    stop: str | list[str] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    seed: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = 0.0
    frequency_penalty: float | None = 0.0
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    stop_token_ids: list[int] | None = None
    allowed_token_ids: list[int] | None = None
    prompt_logprobs: int | None = None
    cache_salt: Any = None
    user: str | None = None
    response_format: Any = None
    structured_outputs: Any = None
    kv_transfer_params: dict[str, Any] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def choices(self) -> int:
        """Number of answers asked for, for each prompt."""
        return 1 if self.n is None else self.n

    @property
    def salt(self) -> str:
        """What separates the prompt's KV blocks from those of others; "": nothing."""
        return self.cache_salt or ""

    @property
    def alternatives(self) -> int | None:
        """Number of alternatives to each token to give with its log-probability; None: no log-probabilities."""
        raise NotImplementedError

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def wants_usage_each(self) -> bool:
        """Whether each event of a stream has the usage so far."""
        return self.wants_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)

    def check(self) -> None:
        """Refuse what vLLM refuses.

        Raises:
            RequestError: a value is out of its range, or values contradict each other.
        """
        if self.stream_options and not self.stream:
            raise bad_value("Stream options can only be defined when `stream=True`.", "stream_options")
        if self.cache_salt is not None and not (isinstance(self.cache_salt, str) and self.cache_salt):
            raise bad_value("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")
        self._check_choices()
        self._check_limits()
        self._check_distribution()
        self._check_logprobs()

    def _check_choices(self) -> None:
        if self.choices < 1:
            raise bad_request(f"n must be at least 1, got {self.choices}.")
        if self.choices > MAX_CHOICES:
            raise bad_request(f"n must be at most {MAX_CHOICES}, got {self.choices}.")
        if self.choices > 1 and self.temperature == 0:
            raise bad_request(f"n must be 1 when using greedy sampling, got {self.choices}.")

    def _check_limits(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise bad_value(f"max_tokens must be at least 1, got {self.max_tokens}.", "max_tokens", self.max_tokens)
        if self.min_tokens < 0:
            raise bad_request(f"min_tokens must be greater than or equal to 0, got {self.min_tokens}.")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise bad_request(
                f"min_tokens must be less than or equal to max_tokens={self.max_tokens}, got {self.min_tokens}."
            )
        if not isinstance(self.stop, str) and len(self.stops) > MAX_STOPS:
            raise invalid_body(f"List should have at most {MAX_STOPS} items, not {len(self.stops)}", "stop")
        if "" in self.stops:
            raise bad_request("stop cannot contain an empty string.")

    def _check_distribution(self) -> None:
        warm = self.temperature
        if warm is not None and not warm >= 0:
            raise bad_value(f"temperature must be non-negative, got {warm}.", "temperature", warm)
        if warm is not None and warm > 2:  # noqa: PLR2004 - OpenAI's bound
            raise bad_value(f"temperature must be in [0, 2], got {warm}.", "temperature", warm)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise bad_value(f"top_p must be in (0, 1], got {self.top_p}.", "top_p", self.top_p)
        if self.top_k is not None and self.top_k < -1:
            raise bad_request(f"top_k must be 0 (disable), or at least 1, got {self.top_k}.")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise bad_request(f"min_p must be in [0, 1], got {self.min_p}.")
        for name in ("presence_penalty", "frequency_penalty"):
            penalty = getattr(self, name)
            if penalty is not None and not -2 <= penalty <= 2:  # noqa: PLR2004 - OpenAI's bounds
                raise bad_request(f"{name} must be in [-2, 2], got {penalty}.")
        if self.repetition_penalty is not None and not self.repetition_penalty > 0:
            raise bad_request(f"repetition_penalty must be greater than zero, got {self.repetition_penalty}.")
        if self.allowed_token_ids == []:
            raise bad_value("allowed_token_ids is not None and empty!", "allowed_token_ids", [])
        self._check_bias()

    def _check_bias(self) -> None:
        try:
            ids = [int(token) for token in self.logit_bias or ()]
        except ValueError as exc:
            message = f"logit_bias contains key(s) that cannot be converted to integer token IDs: {exc}"
            raise bad_value(message, "logit_bias") from exc
        outside = [token for token in ids if not 0 <= token < VOCAB_SIZE]
        if outside:
            message = (
                f"token_id(s) {outside} in logit_bias contain out-of-vocab token ids. Vocabulary size: {VOCAB_SIZE}"
            )
            raise bad_value(message, "logit_bias", outside)

    def _check_logprobs(self) -> None:
        asked = self.prompt_logprobs
        if asked is None:
            return
        if self.stream and (asked > 0 or asked == -1):
            raise bad_value("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")
        if asked < -1:
            raise bad_value("`prompt_logprobs` must be a positive value or -1.", "prompt_logprobs", asked)
        if asked > MAX_LOGPROBS:
            raise too_many_logprobs("prompt", asked)


def too_many_logprobs(of: str, asked: int) -> RequestError:
    """Return the error for more log-probabilities than `MAX_LOGPROBS`; `of`: "sample" or "prompt"."""
    param = "prompt_logprobs" if of == "prompt" else "logprobs"
    return bad_value(
        f"Requested {of} logprobs of {asked}, which is greater than max allowed: {MAX_LOGPROBS}", param, asked
    )
