"""Continues a stream on another replica after its replica died: what the other one is asked for.

It is asked to continue the text already sent: with `continue_final_message` for chats, with a longer prompt for
completions. Where that text may end within a token, it is asked to repeat the end of it, from a token's beginning.
Only engines that are known to continue a message are asked, see `Endpoint.continues_messages`. What they answer
becomes the rest of the stream in `resumed_stream.py`.
"""

from typing import Any, Final

import msgspec

from router.http.api.answers.sent_text import SentText
from router.http.api.asked_answer import number_in

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
RESUMABLE_PATHS = frozenset({CHAT, COMPLETIONS})

_BLOCKING = ("tools", "functions", "logprobs", "prompt_logprobs", "structured_outputs", "echo", "use_beam_search",
             "suffix", "return_token_ids", "truncate_prompt_tokens", "prompt_embeds",
             "guided_json", "guided_regex", "guided_choice", "guided_grammar")  # fmt: skip
"""Fields with which text alone cannot be continued: a grammar, for example, would start anew in the middle."""
_LIMITS = {CHAT: ("max_completion_tokens", "max_tokens"), COMPLETIONS: ("max_tokens",)}
"""Fields that limit the answer's tokens; the first that is set counts."""
_NUMBERS = ("max_completion_tokens", "max_tokens", "min_tokens")
MIN_TEMPERATURE: Final = 1e-5
"""Temperature below which engines take the likeliest token (vLLM's `_SAMPLING_EPS`)."""
_COMPLETION_TOKENS = 16
"""Limit of a completion whose body sets none (OpenAI's API reference, `max_tokens`)."""


def may_be_resumed(body: bytes, sent: SentText) -> dict[str, Any] | None:
    """Return the client's own body, decoded, if the stream's text can be continued; else None.

    Its limits are numbers in it, however the client wrote them.
    """
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(asked, dict) or sent.why_not_resumable or not _is_for_one_choice(asked):
        return None
    for field in _NUMBERS:
        if asked.get(field) is not None:
            asked[field] = number_in(asked[field])
            if asked[field] is None:
                return None  # what the engine made of it is not known
    formatted = asked.get("response_format") not in (None, {"type": "text"})
    return None if formatted or any(asked.get(field) for field in _BLOCKING) else asked


def _is_for_one_choice(asked: dict[str, Any]) -> bool:
    return asked.get("n") in (None, 1) and asked.get("best_of") in (None, 1)


def tokens_left(path: str, asked: dict[str, Any], sent: SentText) -> int | None:
    """Return the tokens that are left of the answer's limit, 0 or fewer: it is used up; None: there is no limit."""
    for field in _LIMITS[path]:
        limit = asked.get(field)
        if isinstance(limit, int):
            return limit - sent.tokens
    return _COMPLETION_TOKENS - sent.tokens if path == COMPLETIONS else None


def _stops(asked: dict[str, Any]) -> list[str]:
    """Return the strings that end an answer."""
    stops = asked.get("stop")
    found = [stops] if isinstance(stops, str) else stops if isinstance(stops, list) else []
    return [stop for stop in found if isinstance(stop, str) and stop]


def _held_chars(asked: dict[str, Any]) -> int:
    """Return the characters that an engine holds back of its text's end, as vLLM does: they may begin a stop string."""
    return 0 if asked.get("include_stop_str_in_output") else max([len(stop) - 1 for stop in _stops(asked)], default=0)


def _begun_stop(asked: dict[str, Any], text: str) -> int:
    """Return how many characters at a text's end are the beginning of a stop string, whose end no other engine knows.

    Only of engines that send stop strings: others hold all of it back.
    """
    if not asked.get("include_stop_str_in_output"):
        return 0
    return max([end for stop in _stops(asked) for end in range(1, len(stop)) if text.endswith(stop[:end])], default=0)


def _is_repeatable(asked: dict[str, Any]) -> bool:
    """Tell whether another engine has the same words for the same text: the likeliest ones, whatever was said before.

    A penalty counts the answer's words, which another engine takes for the prompt's.
    """
    warm = asked.get("temperature")
    is_greedy = isinstance(warm, (int, float)) and warm < MIN_TEMPERATURE
    return is_greedy and not asked.get("presence_penalty") and not asked.get("frequency_penalty")


def _go_on(path: str, asked: dict[str, Any], sent: SentText) -> bool:
    """Choose the place in the text from which another engine goes on; return whether there is one."""
    held, begun_stop = _held_chars(asked), _begun_stop(asked, sent.text)
    if _is_repeatable(asked) and not sent.differs:
        # Templates of chats may strip a message, and the space at its end would come twice.
        is_completion = path == COMPLETIONS
        if sent.go_back(held, len(sent.text) - begun_stop, after_space=is_completion):
            return True
    if begun_stop:
        return False
    sent.go_on_after(held)
    return True


def continuation_body(path: str, body: bytes, sent: SentText) -> bytes | None:
    """Return the body that asks another replica to continue where `sent` ends, or before that.

    Args:
        path: the request's path, one of `RESUMABLE_PATHS`.
        body: the client's own body, a JSON object.
        sent: the text that the client has been sent, folded; the place to go on from is noted in it, and its tokens.

    Returns:
        The body; b"": the answer has had all its tokens; None: nobody can be asked to continue it.
    """
    asked = may_be_resumed(body, sent)
    if asked is None or not _go_on(path, asked, sent):
        return None
    if not sent.reached:
        return body
    left = tokens_left(path, asked, sent)
    if left is not None and left <= 0:
        return b""
    for field in _NUMBERS:
        if isinstance(asked.get(field), int):
            asked[field] = max(0 if field == "min_tokens" else 1, asked[field] - sent.tokens)
    if path == COMPLETIONS:
        asked["max_tokens"] = left
    text = sent.text[: sent.reached]
    can_go_on = _continue_chat(asked, text, sent) if path == CHAT else _continue_completion(asked, text)
    return msgspec.json.encode(asked) if can_go_on else None


def _continue_completion(asked: dict[str, Any], text: str) -> bool:
    """Make the text so far the prompt's end; return False where the prompt is no text."""
    if not isinstance(asked.get("prompt"), str):
        return False
    asked["prompt"] += text
    return True


def _continue_chat(asked: dict[str, Any], text: str, sent: SentText) -> bool:
    """Make the assistant's text so far the last message, to be continued; return False where that is impossible.

    The reasoning before it goes along, in the field in which it came; chat templates put it before the text.
    """
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        return False
    last = messages[-1]
    if asked.get("continue_final_message"):
        if not isinstance(last, dict) or not isinstance(last.get("content"), str) or sent.reasoning:
            return False
        asked["messages"] = [*messages[:-1], {**last, "content": last["content"] + text}]
    else:
        reasoning = {sent.reasoning_name: sent.reasoning} if sent.reasoning else {}
        asked["messages"] = [*messages, {"role": "assistant", **reasoning, "content": text}]
    asked["continue_final_message"] = True
    asked["add_generation_prompt"] = False
    return True
