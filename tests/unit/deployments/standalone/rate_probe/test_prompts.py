"""Probes' prompts are different, and their bodies what OpenAI's API asks for."""

import json
from random import Random

from deployments.standalone.rate_probe.busy_signs import is_busy
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


def test_engines_say_in_their_own_words_that_they_have_requests() -> None:
    """Running or waiting requests count, of any engine of the server; other numbers and other servers' do not."""
    idle = 'vllm:num_requests_running{engine="0"} 0.0\nvllm:num_requests_waiting{engine="0"} 0.0\nvllm:x 7\n'
    assert not is_busy(idle)
    assert is_busy(idle + 'vllm:num_requests_running{engine="1"} 2.0\n')
    assert is_busy("# HELP tgi_queue_size x\ntgi_queue_size 1\n")
    assert is_busy('sglang:num_running_reqs{model_name="m"} 1.0')
    assert not is_busy("")
    assert not is_busy("vllm:num_requests_running\nvllm:num_requests_running{} nothing")
