"""A chat request: its fields, its checks, its prompt and the answers to generate."""

from typing import Any, Final, Literal

import msgspec

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.sim.api.answer_form import form_of
from deployments.engines.sim.api.chat_template import Message, called_names, content, render
from deployments.engines.sim.api.errors import bad_request, bad_value
from deployments.engines.sim.api.generating import answers_of
from deployments.engines.sim.api.sampling import MAX_LOGPROBS, SamplingRequest, too_many_logprobs
from deployments.engines.sim.chat.tools import tool_use_of
from deployments.engines.sim.generation.answer import END_OF_REASONING, Answer
from deployments.engines.sim.generation.prompt import SimPrompt
from deployments.engines.sim.guided.tool_choice import ToolUse

BEGIN_OF_REASONING: Final = "<think>\n"
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatRequest(SamplingRequest, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[Message]
    tools: msgspec.Raw = msgspec.Raw()
    tool_choice: Any = None
    parallel_tool_calls: bool | None = True
    max_completion_tokens: int | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    reasoning_effort: Effort | None = None

    @property
    def alternatives(self) -> int | None:
        """Number of alternatives to each token to give with its log-probability; None: no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def check(self) -> None:
        """Refuse what vLLM refuses.

        Raises:
            RequestError: a value is out of its range, or values contradict each other.
        """
        if self.max_completion_tokens is not None:
            self.max_tokens = self.max_completion_tokens
        super().check()
        asked = self.top_logprobs or 0
        if asked < -1:
            raise bad_value("`top_logprobs` must be a positive value or -1.", "top_logprobs", asked)
        if asked and not self.logprobs:
            raise bad_value("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
        if asked > MAX_LOGPROBS:
            raise too_many_logprobs("sample", asked)
        if self.continue_final_message and self.add_generation_prompt:
            raise bad_request(
                "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when "
                "you want the model to continue the final message, and add_generation_prompt when you want to add a "
                "header that will prompt it to start a new assistant message instead."
            )

    def tool_use(self) -> ToolUse:
        """Return which tools the chat has, and how it lets them be called.

        Raises:
            RequestError: the tools, or the choice among them, are wrong.
        """
        return tool_use_of(self.tools, self.tool_choice, several=self.parallel_tool_calls is not False)

    def prompt(self, model: str, spec: SimSpec) -> SimPrompt:
        """Return the chat as a prompt.

        Raises:
            RequestError: there is no message, or one has parts that are not text.
        """
        text = render(self.messages, self.tools, model, add_generation_prompt=self.add_generation_prompt)
        if self.reasons(spec) and not self.continue_final_message:
            text += BEGIN_OF_REASONING
        answer_from = len(text)
        if self.continue_final_message:
            last = self.messages[-1]
            begun = content(last, model)
            text = text.removesuffix("<|im_end|>\n").removesuffix(begun)
            if self.reasons(spec):
                text += BEGIN_OF_REASONING
                begun = f"{last.thought}{END_OF_REASONING} {begun}"
            answer_from = len(text)
            text += begun
        return SimPrompt(text, spec.chars_per_token, from_ids=False, answer_from=answer_from, salt=self.salt)

    def reasons(self, spec: SimSpec) -> bool:
        """Return whether the answers have reasoning before them, or are to go on behind it."""
        if not spec.reasoning_tokens or self.reasoning_effort == "none":
            return False
        return not self.continue_final_message or self.messages[-1].thought is not None

    def answers(self, prompt: SimPrompt, tools: ToolUse, model: str, spec: SimSpec) -> list[Answer]:
        """Return the answers to generate.

        Raises:
            RequestError: the prompt or the answer exceeds the context, or nothing fits the form or the tools.
        """
        turns = self.messages[:-1] if self.continue_final_message else self.messages
        last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=-1)
        asked = content(turns[last], model) if last >= 0 else ""
        used = {name for turn in turns[last + 1 :] for name in called_names(turn)}
        after_result = bool(turns) and turns[-1].role in ("tool", "function")
        calls = tools.called(asked, used, prompt.answer_from, after_result=after_result)
        form = form_of(self.response_format, self.structured_outputs)
        return answers_of(
            self,
            [prompt],
            spec,
            limit=self.max_tokens,
            mean_words=spec.answer_tokens,
            mean_reasoning_words=spec.reasoning_tokens if self.reasons(spec) else 0,
            form=form,
            calls=calls,
        )
