"""Counts the reasoning in an answer's tokens as they come.

vLLM 0.32's parsers of the older kind (DeepSeek-R1's, DeepSeek-V3's, Ernie's) count an answer's tokens anew for each
event that tells its usage, which the gateway asks for: 4.3 s of a core for one answer of 10 000 tokens. And they count
none where the prompt has begun the reasoning, as DeepSeek-R1's chat template does. Its newer ones (Qwen3's) do neither.

Imported once vLLM's environment is set.
"""

from collections.abc import Sequence
from typing import Any, Final

from vllm.parser.abstract_parser import DelegatingParser
from vllm.reasoning.basic_parsers import BaseThinkingReasoningParser

_COUNT: Final = "_rackserve_count"
_TOLD_APART_BY: Final = 32
"""Last tokens of what was counted by which one answer is told from another."""
_vllms_count: Final = DelegatingParser.count_reasoning_tokens


class ReasoningCount:
    """The reasoning in one answer after another.

    Args:
        start: the token that begins reasoning.
        end: the token that ends it.
    """

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._end = end
        self._depth = self._seen = self._tokens = 0
        self._last: list[int] = []

    def of(self, answer: Sequence[int], *, is_over: bool) -> int:
        """Return the tokens of reasoning in an answer, as far as it goes.

        Args:
            answer: its tokens. If it goes on from those of the last call, only the new ones are looked at.
            is_over: reasoning is known to be over. Else, and where a token in it ends it first, an answer begins with
                it, unless the first token does.
        """
        if not self._seen or list(answer[max(0, self._seen - _TOLD_APART_BY) : self._seen]) != self._last:
            is_begun = not is_over or self._end in answer
            self._depth = int(is_begun and self._start not in answer[:1])
            self._seen = self._tokens = 0
        for token in answer[self._seen :]:
            if token == self._start:
                self._depth += 1
            elif token == self._end:
                self._depth = max(0, self._depth - 1)
            elif self._depth:
                self._tokens += 1
        self._seen = len(answer)
        self._last = list(answer[-_TOLD_APART_BY:])
        return self._tokens


def _count_reasoning_tokens(self: DelegatingParser, token_ids: Sequence[int]) -> int:
    """Count an answer's tokens of reasoning in place of vLLM's method."""
    found: Any = self._reasoning_parser
    parser = getattr(found, "_parser", found)  # DeepSeek-V3's chooses one
    counts_itself = BaseThinkingReasoningParser.count_reasoning_tokens
    if not isinstance(parser, BaseThinkingReasoningParser) or type(parser).count_reasoning_tokens is not counts_itself:
        told: int = _vllms_count(self, token_ids)
        return told
    count: ReasoningCount | None = getattr(self, _COUNT, None)
    if count is None:
        count = ReasoningCount(parser.start_token_id, parser.end_token_id)
        setattr(self, _COUNT, count)
    # Of a stream vLLM knows whether the prompt ended the reasoning; all of another answer it shows as reasoning until
    # that ends.
    return count.of(token_ids, is_over=self._stream_state.reasoning_ended)


def count_as_it_comes() -> None:
    """Have vLLM count in this way; a second call changes nothing."""
    DelegatingParser.count_reasoning_tokens = _count_reasoning_tokens
