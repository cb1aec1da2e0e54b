"""One answer's text: chooses its words, decides when it ends, and holds back text that may be a stop string."""

from dataclasses import dataclass, field
from typing import Final, Literal

from xxhash import xxh32_intdigest

from deployments.engines.sim.generation.prompt import VOCAB_SIZE, SimPrompt, units_of_ids
from deployments.engines.sim.generation.script import CallDelta, Script, ToolCall
from deployments.engines.sim.generation.text import TAIL_CHARS, VOCABULARY, answer_words, next_word, rest_of_word

_TOKEN_OF_WORD = {word: units_of_ids([1000 + index]) for index, word in enumerate(VOCABULARY)}

END_OF_REASONING: Final = " </think>"
"""The word that ends reasoning; as many models write it, but for the space."""
FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """What a request asks of its answers.

    Attributes:
        max_tokens: most tokens of an answer.
        min_tokens: tokens before an answer may end by itself or at a stop string.
        stops: strings that end an answer.
        keep_stop: the stop string stays in the text.
        mean_words: mean length of an answer in words; 0: it never ends by itself.
        mean_reasoning_words: mean length of the reasoning before it, in words; 0: it has none.
    """

    max_tokens: int
    min_tokens: int = 0
    stops: tuple[str, ...] = ()
    keep_stop: bool = False
    mean_words: int = 0
    mean_reasoning_words: int = 0


@dataclass(slots=True, eq=False)
class Answer:
    """The text of one answer while its tokens are sampled.

    Attributes:
        index: its place among the request's choices.
        prompt: the prompt that it answers.
        rules: what the request asks of it.
        salt: makes it differ from other answers to the same prompt.
        script: what it says, if that is known beforehand; None: each word is chosen by the text before it.
        tokens: tokens sampled so far.
        finish_reason: why it ended; None: it goes on.
        stop_reason: the stop string that ended it; None: none did.
        words: the text of each token not shown yet; None: the request did not ask for `logprobs`.
        reasoning: its reasoning so far, which is no part of its text.
        reasoning_tokens: tokens of it, its end included.
    """

    index: int
    prompt: SimPrompt
    rules: AnswerRules
    salt: int
    script: Script | None = None
    tokens: int = 0
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    words: list[str] | None = None
    reasoning: str = ""
    reasoning_tokens: int = 0
    _text: str = ""
    _shown: int = 0
    _shown_reasoning: int = 0
    _reasons_until: int = 0
    _ends_at: int | None = field(init=False)
    _to_say: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Set the answer's length from the text before it alone, so that a continued answer ends at the same word."""
        self._ends_at, self._to_say = None, []
        begun = self.prompt.units[self.prompt.answer_from :]
        if self.script is not None:
            self._to_say = self.script.tokens_after(begun)
            self._ends_at = len(self._to_say)
            return
        before = self.prompt.units[max(0, self.prompt.answer_from - TAIL_CHARS) : self.prompt.answer_from]
        begun_words = len(begun.split())
        if not self.prompt.from_ids and (rest := rest_of_word(self.prompt.units, self.salt)):
            self._to_say, begun_words = [rest], begun_words - bool(begun[-1:].strip())
        reasoning = self._reasoning_words(before)
        if reasoning and END_OF_REASONING not in begun:
            self._reasons_until = max(1, reasoning - begun_words)
        if self.rules.mean_words:
            self._ends_at = reasoning + answer_words(before, self.salt, self.rules.mean_words) - begun_words

    def _reasoning_words(self, before: str) -> int:
        """Return the words of the whole reasoning, with the one that ends it."""
        mean = self.rules.mean_reasoning_words
        return answer_words(before, self.salt ^ 0x9E37, mean) + 1 if mean else 0

    @property
    def text(self) -> str:
        """The whole text so far, without a stop string that is not kept."""
        return self._text

    def sample(self, tail: str) -> str:
        """Sample one more token and return the units that it adds to the sequence.

        Sets `finish_reason` if it is the last token. The end of an answer is a token too, without text.

        Args:
            tail: the last `TAIL_CHARS` units of prompt and answer.
        """
        self.tokens += 1
        may_stop = self.tokens > self.rules.min_tokens
        is_over = self._ends_at is not None and self.tokens > self._ends_at
        if is_over and (may_stop or self.script is not None):
            self.finish_reason = "stop"
            return ""
        word = self._to_say[self.tokens - 1] if self.tokens <= len(self._to_say) else next_word(tail, self.salt)
        if self.tokens <= self._reasons_until:
            return self._reason(word)
        self._text += word.lstrip() if self.reasoning_tokens and not self._text else word
        if self.words is not None:
            self.words.append(word)
        if may_stop and self.rules.stops:
            self._stop_at(len(self._text) - len(word))
        if self.finish_reason is None and self.tokens >= self.rules.max_tokens:
            self.finish_reason = "length"
        return _token_of(word) if self.prompt.from_ids else word

    def _reason(self, word: str) -> str:
        self.reasoning_tokens += 1
        if self.tokens == self._reasons_until:
            word = END_OF_REASONING
        else:
            self.reasoning += word
        if self.words is not None:
            self.words.append(word)
        if self.tokens >= self.rules.max_tokens:
            self.finish_reason = "length"
        return _token_of(word) if self.prompt.from_ids else word

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The answer's tool calls, once all of it has been generated; before, or if it was cut short, none."""
        whole = self.finish_reason == "stop" and self.stop_reason is None
        return self.script.calls if self.script is not None and whole else ()

    def take_new(self) -> str:
        """Return the text not returned before, except a last part that could be the beginning of a stop string."""
        start, self._shown = self._shown, self._showable()
        return self._text[start : self._shown]

    def take_new_reasoning(self) -> str:
        """Return the reasoning not returned before."""
        start, self._shown_reasoning = self._shown_reasoning, len(self.reasoning)
        return self.reasoning[start:]

    def take_call_deltas(self) -> list[CallDelta]:
        """Return what `take_new` would return, as parts of the answer's tool calls."""
        start, self._shown = self._shown, self._showable()
        return self.script.call_deltas(start, self._shown) if self.script is not None else []

    def _showable(self) -> int:
        end = len(self._text)
        if self.finish_reason is None and self.rules.stops and not self.rules.keep_stop:
            end = max(self._shown, end - max(map(len, self.rules.stops)) + 1)
        return end

    def _stop_at(self, word_start: int) -> None:
        for stop in self.rules.stops:
            found = self._text.find(stop, max(0, word_start - len(stop) + 1))
            if found >= 0:
                self._text = self._text[: found + len(stop) if self.rules.keep_stop else found]
                self.finish_reason, self.stop_reason = "stop", stop
                return


def _token_of(word: str) -> str:
    found = _TOKEN_OF_WORD.get(word.strip())
    return found or units_of_ids([2000 + xxh32_intdigest(word.encode()) % (VOCAB_SIZE - 2000)])
