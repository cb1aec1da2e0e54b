"""Probes' prompts are different, and their bodies what OpenAI's API asks for."""

import json
from random import Random

from deployments.standalone.rate_probe.prompts import CHATS, COMPLETIONS, body_of, prompt_of


def test_prompts_have_the_given_words_and_none_begins_like_another() -> None:
    """Of a thousand prompts no two share their first 16 words, so no KV block of one serves another."""
    rng = Random(1)
    prompts = [prompt_of(32, rng).split() for _ in range(1000)]
    assert {len(prompt) for prompt in prompts} == {32}
    assert len({tuple(prompt[:16]) for prompt in prompts}) == 1000


def test_bodies_ask_for_a_short_stream_with_its_usage() -> None:
    """Completions have a prompt, chats a message."""
    for path, key in ((COMPLETIONS, "prompt"), (CHATS, "messages")):
        body = json.loads(body_of(path, "m", "a b", 1))
        assert (body["model"], body["max_tokens"], body["stream"]) == ("m", 1, True)
        assert body["stream_options"] == {"include_usage": True}
        assert json.dumps(body[key]).count("a b") == 1
