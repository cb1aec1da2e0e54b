"""A completion request: its fields, its checks, its prompts and the answers to generate."""

from typing import Any

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.sim.api.answer_form import form_of
from deployments.engines.sim.api.errors import bad_request, bad_value
from deployments.engines.sim.api.generating import answers_of
from deployments.engines.sim.api.inputs import prompts_of
from deployments.engines.sim.api.sampling import MAX_LOGPROBS, SamplingRequest, too_many_logprobs
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.generation.prompt import SimPrompt

DEFAULT_MAX_TOKENS = 16
"""Most tokens of a completion whose request gives no number: the OpenAI API's default."""


class CompletionRequest(SamplingRequest, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[Any] | None = None
    echo: bool | None = False
    logprobs: int | None = None
    suffix: str | None = None

    @property
    def alternatives(self) -> int | None:
        """Number of alternatives to each token to give with its log-probability; None: no log-probabilities."""
        return self.logprobs

    @property
    def echoes_only(self) -> bool:
        """Whether the response shows the prompt alone: a token is generated nevertheless, as in vLLM."""
        return bool(self.echo) and self.max_tokens == 0

    def check(self) -> None:
        """Refuse what vLLM refuses.

        Raises:
            RequestError: a value is out of its range, or values contradict each other.
        """
        if not self.echoes_only:
            super().check()
        asked = self.logprobs or 0
        if asked < -1:
            raise bad_value("`logprobs` must be a positive value or -1.", "logprobs", asked)
        if asked > MAX_LOGPROBS:
            raise too_many_logprobs("sample", asked)
        if self.suffix:
            raise bad_request("suffix is only supported for models with FIM completion rendering", "suffix")

    def prompts(self, spec: SimSpec) -> list[SimPrompt]:
        """Return the prompts.

        Raises:
            RequestError: there is none, or a token id is outside the vocabulary.
        """
        if self.prompt is None or self.prompt == "":
            raise bad_value("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        return prompts_of(self.prompt, "prompt", spec, self.salt)

    def answers(self, prompts: list[SimPrompt], spec: SimSpec) -> list[Answer]:
        """Return the answers to generate.

        Raises:
            RequestError: a prompt or an answer exceeds the context, or nothing fits the form.
        """
        limit = DEFAULT_MAX_TOKENS if self.max_tokens is None else max(1, self.max_tokens)
        form = form_of(self.response_format, self.structured_outputs)
        return answers_of(self, prompts, spec, limit=limit, mean_words=0, form=form)
