"""The text that a client has been sent of a streamed answer, kept so that another replica can continue it."""

import re
from typing import Any, Final

from router.estimator.expectation import Usage
from router.http.api.answers.cut_usage import CutUsage
from router.http.api.answers.server_sent_events import DONE, data_of, ends_event, split_events
from router.http.api.answers.stream_event import StreamChoice, StreamEvent, read_event, told_in
from router.http.api.answers.usage import KEY, UNKNOWN, counted, counted_at_end, last_usage_of_stream, reasoning_in
from router.http.wire.chunked import inside, payload, whole_chunks

FOLD_EVENTS: Final = 256
"""Reads kept as they came; above this they are folded into their text, which bounds a stream's memory."""
MAX_TAIL: Final = 16 * 1024
"""Bytes kept of the end of a stream that cannot be continued; also those in which its last usage is looked for."""
_TOLD: Final = (b'"usage":{', b'"usage": {')
"""How servers write the start of a told usage."""
_PIECE: Final = re.compile(rb'"(?:content|text|reasoning|reasoning_content)"\s*:\s*"[^"]')
_EVENT: Final = b"data: {"
MAX_HELD_CHARS: Final = 512
"""Characters held back by an engine up to which the tokens that were sent are counted right."""
MAX_REPEATED_CHARS: Final = 2 * MAX_HELD_CHARS
"""Characters of a text's end that another engine is let generate once more: what may be held back, and one event."""
FROM_START_CHARS: Final = 32
"""Characters of a text up to which another engine begins anew rather than after them. A text is read into tokens
together with the prompt before it: of a prompt that ends in a space, and a first word, it may make one token of two."""


class SentText:
    """The text of a stream so far.

    `keep` is on the hot path and only appends. Events are read when many are kept, or when the text is needed.

    Attributes:
        keep: appends framed bytes that were sent to the client, with the usage that was hidden from it.
        text: the generated text up to the last `fold`.
        reached: how much of `text` the engine that answers has generated, characters. Less than all of it while it
            repeats the end of what another one sent.
        differs: an engine repeated the text's end in other words, so it is not to be repeated any more.
        reasoning: the reasoning before that text.
        reasoning_name: the name of the field in which it came; "": none did.
        tokens: tokens of text and reasoning, as the engine told last; where it tells none, one for each event of them.
        told: the usage that the engine told last, up to the last `fold`; unknown: it told none.
        first: the first event of the stream; the events that another replica adds are made like it. None: none came.
        finished: an event had a `finish_reason`.
        usage_sent: the last usage came, in an event without choices.
        resumable: the answer is text alone, perhaps after reasoning, with no tool calls, log-probabilities or second
            choice, so it can be continued from its text.
    """

    __slots__ = (
        "_begun",
        "_cut",
        "_event",
        "_kept",
        "_marks",
        "_of_choices",
        "_tokens_sent",
        "_told_as",
        "differs",
        "finished",
        "first",
        "keep",
        "reached",
        "reasoning",
        "reasoning_name",
        "resumable",
        "text",
        "tokens",
        "told",
        "usage_sent",
    )

    def __init__(self) -> None:
        self.text = ""
        self.reached = 0
        self.differs = False
        self.reasoning = ""
        self.reasoning_name = ""
        self.tokens = 0
        self.told = UNKNOWN
        self._told_as: object = None  # the object that `told` was read from
        self.first: StreamEvent | None = None
        self.finished = False
        self.usage_sent = False
        self.resumable = True
        self._cut: CutUsage | None = None
        self._event = b""
        self._of_choices: dict[int, int] = {}  # tokens, by the choice's index, as told with its last event
        self._begun = (0, 0)  # characters and tokens before the first one of the engine that answers
        self._marks: list[tuple[int, int]] = []  # characters sent and tokens told after each event, of the text's end
        self._tokens_sent = 0  # tokens of `text` when another engine went on with it
        self._kept: list[bytes] = []
        self.keep = self._kept.append

    def fold_if_long(self) -> None:
        """Fold if over `FOLD_EVENTS` reads are kept; regular calls bound a stream's memory."""
        if len(self._kept) > FOLD_EVENTS:
            self.fold()

    def rest(self) -> bytes:
        """Return the kept bytes that are not folded yet, framed."""
        return b"".join(self._kept)

    def fold(self) -> None:
        """Read the kept events into `text`; an incomplete last one stays kept."""
        framed = b"".join(self._kept)
        if self.resumable:
            self._fold_events(framed)
        else:
            self._kept[:] = [self._cut_short(framed)]

    def _fold_events(self, framed: bytes) -> None:
        whole = whole_chunks(framed)
        events, self._event = split_events(self._event + payload(framed[:whole]))
        self._kept[:] = [framed[whole:]]
        for event in events:
            self.add_event(event)
        if not self.resumable:
            self._kept[:] = [self._event + framed[whole:]]

    def _cut_short(self, framed: bytes) -> bytes:
        """Return the end of a stream that cannot be continued, after the rest was read for its usage."""
        if len(framed) <= MAX_TAIL:
            return framed
        if self._cut is None:
            self._cut = CutUsage(chunked=True, streamed=True)
        kept = self._cut.cut(framed, MAX_TAIL)
        self.tokens += framed.count(_EVENT, 0, len(framed) - len(kept))
        self._count(self._cut.found_in_dropped())
        return kept

    @property
    def within_event(self) -> bool:
        """Whether what was sent ends within an event or chunk, so that nothing can follow; call `fold` before."""
        if not self.resumable:
            return not ends_event(self.rest(), chunked=True)
        return any(self._kept) or bool(self._event)

    def add_event(self, event: bytes) -> None:
        """Add one whole event, given without the empty line that ends it."""
        data = data_of(event)
        if not data or data == DONE:
            return
        read = read_event(data)
        if read is None or read.error is not None or read.choices is None:
            self.resumable = False  # an error, in whatever shape, or nothing that is known
            self._count(told_in(read) if read is not None else None)
            return
        if self.first is None:
            self.first = read
        choices = read.choices
        for choice in choices:
            self.resumable = self.resumable and choice.is_text_alone
            self.finished = self.finished or choice.finish_reason is not None
            piece = choice.piece
            if piece:
                self.text += piece[len(self.text) - self.reached :]
                self.reached += len(piece)
            reasoning = choice.reasoning
            if reasoning:
                self._add_reasoning(reasoning, choice)
            self.tokens += bool(piece or reasoning)
        if self._count(told_in(read)):
            self.usage_sent = not choices
            for choice in choices:
                self._of_choices[choice.index] = self.tokens
        self._mark()

    def _mark(self) -> None:
        """Remember how many characters came with how many tokens, of as much as an engine may hold back."""
        chars, marks = self.reached + len(self.reasoning), self._marks
        if chars > (marks[-1][0] if marks else self._begun[0]):
            marks.append((chars, self.tokens))
            while len(marks) > 2 and marks[1][0] + MAX_HELD_CHARS <= chars:  # noqa: PLR2004 - a pair around a place
                del marks[0]

    def go_on_after(self, held_chars: int) -> None:
        """Have another engine go on after all of the text, and count the tokens whose text was sent.

        An engine has told more: it holds back the end of its text while that may be a stop string, and a character
        until all its bytes are there. Of an event with several tokens that was sent in part, it is a share of them.

        Args:
            held_chars: characters that the engine holds back of a text that goes on.
        """
        self._begin_at(len(self.text), self._count_sent(held_chars))

    def _count_sent(self, held_chars: int) -> int:
        chars = len(self.text) + len(self.reasoning)
        reached, tokens = self._begun
        for sent, told in self._marks:
            generated = sent + held_chars
            if generated > chars:
                tokens += (told - tokens) * (chars - reached) // (generated - reached)
                break
            reached, tokens = generated, told
        return max(tokens, self._tokens_sent)

    def go_back(self, held_chars: int, before: int, *, after_space: bool) -> bool:
        """Have another engine repeat the text's end, from where a token is known to have begun.

        After each event the engine had sent all of its text but what it holds back, so its tokens ended there. The end
        of what was sent is no such place if text was held back: its last token may have been sent in part.

        Args:
            held_chars: characters that the engine holds back of a text that goes on.
            before: the latest place in the text to begin at, in characters.
            after_space: the place may be one after a space.

        Returns:
            Whether there is a place; it is the last one, and `reached` is there then.
        """
        reasoning = len(self.reasoning)
        # While reasoning is sent, what is held back may be its end, which is no text.
        ends = [(sent + held_chars, told) for sent, told in self._marks if not reasoning or sent > reasoning]
        for chars, tokens in (*reversed(ends), self._begun):
            place = chars - reasoning
            is_whole = place > 0 or (place == 0 and not reasoning)
            if is_whole and place <= before and (after_space or not self.text[place - 1 : place].isspace()):
                if place <= FROM_START_CHARS and not reasoning:
                    place, tokens = 0, 0  # noqa: PLW2901 - the start is as good a place
                if len(self.text) - place > MAX_REPEATED_CHARS:
                    return False
                self._tokens_sent = self._count_sent(held_chars)
                self._begin_at(place, tokens)
                return True
        return False

    def _begin_at(self, place: int, tokens: int) -> None:
        """Set the place in the text at which another engine begins, and the tokens before it."""
        self.reached = place
        self.tokens = tokens
        self._begun = (place + len(self.reasoning), tokens)
        self._marks = []
        if self.told.completion_tokens is not None:
            self.told = Usage(self.told.prompt_tokens, self.told.cached_tokens, tokens)
            self._of_choices = {0: tokens}

    @property
    def to_repeat(self) -> str:
        """The end of the text that the engine which answers has still to repeat."""
        return self.text[self.reached :]

    def is_repeated_otherwise(self) -> None:
        """Note that an engine repeats the text's end in other words; what it has said is none of this text."""
        self.differs = True
        self._marks = []

    def _add_reasoning(self, reasoning: str, choice: StreamChoice) -> None:
        self.reasoning += reasoning
        self.reasoning_name = choice.reasoning_name
        if self.text:  # in between two texts: no message has a place for it
            self.resumable = False

    @property
    def why_not_resumable(self) -> str:
        """Why no other replica can continue the answer, for the client; "": one can, as far as the answer goes."""
        if not self.resumable:
            return "; an answer with tool calls, log-probabilities or several choices cannot be continued elsewhere"
        if self.reasoning and not self.text:
            return "; an answer that is cut within its reasoning cannot be continued elsewhere"
        return ""

    def _count(self, usage: object) -> bool:
        """Take over the counts that the engine has told up to now; return False if it told none."""
        told = counted(usage)
        if told.completion_tokens is None:
            return False
        self.told = told
        self._told_as = usage
        self.tokens = told.completion_tokens
        return True

    def usage(self, *, is_asked: bool = True) -> Usage:
        """Return the usage that the engine told last, without reading events; unknown: it told none.

        Args:
            is_asked: the engine was asked for it. Else it is not looked for where it cannot be seen at once.
        """
        rest = self.rest()
        found = self._last_told(rest, is_asked=is_asked)
        if found is not None:
            told = counted_at_end(found)
            after = _pieces_after_usage(rest)
            if after:  # it was told before the text, as some servers do
                tokens = (told.completion_tokens or 0) + after
                told = Usage(told.prompt_tokens, told.cached_tokens, tokens, told.reasoning_tokens)
            return told
        told = self.told
        if told is UNKNOWN:
            return told
        generated = self._tokens_sent if self.to_repeat else self.tokens
        return Usage(told.prompt_tokens, told.cached_tokens, generated, self.reasoning_tokens)

    @property
    def reasoning_tokens(self) -> int | None:
        """Tokens of reasoning that the engine told last, up to the last `fold`; None: it told none."""
        return reasoning_in(self._told_as)

    def _last_told(self, rest: bytes, *, is_asked: bool) -> dict[str, Any] | None:
        """Return the last usage in what is kept, without reading more events than need be; None: there is none."""
        tail = rest[-MAX_TAIL:]
        found = last_usage_of_stream(tail) if is_asked or KEY in tail else None
        if found is None and len(rest) > len(tail) and KEY in rest:
            found = last_usage_of_stream(rest)
            if found is None and self._cut is not None:
                found = self._cut.last(rest)
        return found

    def usage_about(self, *, is_told: bool = True) -> Usage:
        """Return the usage so far, without reading events.

        Where the engine tells none, the tokens of the answer are one for each event but the first and the last.

        Args:
            is_told: the engine may have told it. Else `usage` has found none, and it is not looked for again.
        """
        told = self.usage() if is_told else UNKNOWN
        if told.completion_tokens is not None:
            tokens = max(told.completion_tokens, self._told_of_choices())
            return Usage(told.prompt_tokens, told.cached_tokens, tokens, told.reasoning_tokens)
        return Usage(None, None, max(0, self.tokens + self.rest().count(_EVENT) - 2))

    def _told_of_choices(self) -> int:
        """Return the tokens of all choices, of which engines tell each one's with its own events."""
        tokens = dict(self._of_choices)
        for event in split_events(inside(self._event + self.rest()))[0]:
            read = read_event(data_of(event)) if KEY in event else None
            told = counted(told_in(read)).completion_tokens if read is not None else None
            if read is not None and told is not None:
                tokens |= {choice.index: told for choice in read.choices or ()}
        return sum(tokens.values())


def _pieces_after_usage(events: bytes) -> int:
    """Return how many events add text after the last usage that is told."""
    at = events.rfind(KEY)
    if at >= 0 and b"{" not in events[at : at + len(KEY) + 3]:  # `null`, or cut in two: told further up, if at all
        at = max(events.rfind(told) for told in _TOLD)
    return len(_PIECE.findall(events, at)) if at >= 0 else 0
