"""What clients ask, and the right answer to it: text and tokens as one engine alone gives them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import httpx

from cluster.spec.model_spec import ModelSpec
from deployments.engines.sim.engine import SimEngine

PROMPTS: Final = 48
"""Different questions; each is asked again and again, so that caches are hit, too."""
_WORDS: Final = ("river", "stone", "cloud", "bread", "lamp", "winter", "garden", "horse", "paper", "glass", "tower")


@dataclass(frozen=True, slots=True)
class Question:
    """One question and its right answer.

    Attributes:
        path: of the API.
        body: the request, without `stream`.
        text: of the right answer.
        prompt_tokens: that its usage tells.
        completion_tokens: that its usage tells.
    """

    path: str
    body: Mapping[str, Any]
    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


async def answered_questions(model: str, seed: int, tokens: Sequence[int], *adapters: str) -> list[Question]:
    """Return questions with the answers of an engine in this process, which nothing happens to.

    Args:
        model: its name.
        seed: draws the prompts.
        tokens: lengths of answers, one of which each question asks for.
        adapters: names of its LoRA adapters, which are asked as often as itself.
    """
    rng = Random(seed)
    spec = {
        "name": model,
        "engine": "sim",
        "sim": {"inter_token_s": 0.0, "inter_token_per_seq_s": 0.0, "adapter_load_s": 0.0},
        "adapters": [{"name": name, "source": f"org/{name}"} for name in adapters],
    }
    known = ModelSpec.model_validate(spec)
    engine = SimEngine(known)
    await engine.start()
    await engine.set_adapters(known.adapters)
    found = []
    try:
        transport = httpx.ASGITransport(app=engine.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://alone", timeout=60.0) as client:
            for number in range(PROMPTS):
                path, body = _asked(rng.choice((model, *adapters)), number, rng, tokens)
                answer = (await client.post(path, json=body)).raise_for_status().json()
                usage = answer["usage"]
                found.append(Question(path, body, text_of(answer), usage["prompt_tokens"], usage["completion_tokens"]))
    finally:
        await engine.stop()
    return found


def text_of(answer: Mapping[str, Any]) -> str:
    """Return the text of a whole answer, or what an event of a stream adds to it."""
    pieces = []
    for choice in answer.get("choices", ()):
        message = choice.get("delta") or choice.get("message") or {}
        pieces.append(choice.get("text") or message.get("content") or "")
    return "".join(pieces)


def encoded(question: Question, *, stream: bool) -> bytes:
    """Return the request's body."""
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return json.dumps({**question.body, **more}).encode()


def _asked(model: str, number: int, rng: Random, tokens: Sequence[int]) -> tuple[str, dict[str, Any]]:
    words = " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(4, 120)))
    body: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": rng.choice(tokens), "ignore_eos": True}
    if number % 2:
        return "/v1/completions", {**body, "prompt": f"{number}: {words}"}
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": f"{number}: {words}"}]}
