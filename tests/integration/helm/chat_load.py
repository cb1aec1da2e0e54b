"""Apps that go on asking while a cluster changes under them."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

import httpx

APPS = 6
"""As many ask at once: half over a kept connection, half over a new one each time; every other one wants a stream."""


@dataclass
class Answers:
    """What came back.

    Attributes:
        good: whole answers, by model.
        failures: everything else, in words.
    """

    good: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@contextmanager
def asking(url: str, models: Sequence[str]) -> Iterator[Answers]:
    """Ask the models in turn from a thread until the block ends; answers under way are waited for."""
    answers = Answers()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask_all(url, models, answers, stop)), name="apps")
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join(60.0)
        assert not thread.is_alive(), "an answer never ended"


async def _ask_all(url: str, models: Sequence[str], answers: Answers, stop: threading.Event) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30.0) as kept:
        await asyncio.gather(*(_ask(number, kept, url, models, answers, stop) for number in range(APPS)))


async def _ask(  # noqa: PLR0913, PLR0917 - one app's whole world
    number: int,
    kept: httpx.AsyncClient,
    url: str,
    models: Sequence[str],
    answers: Answers,
    stop: threading.Event,
) -> None:
    for model in cycle(models):
        if stop.is_set():
            return
        body = {
            "model": model,
            "messages": [{"role": "user", "content": f"I am app {number}"}],
            "max_tokens": 8,
            "stream": number % 2 == 0,
        }
        try:
            if number % 4 < 2:
                problem = await _one(kept, body)
            else:
                async with httpx.AsyncClient(base_url=url, timeout=30.0) as fresh:
                    problem = await _one(fresh, body)
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            answers.failures.append(f"app {number}, {model}: {problem}")
        else:
            answers.good[model] += 1
        await asyncio.sleep(0.02)


async def _one(client: httpx.AsyncClient, body: dict[str, object]) -> str:
    """Ask once; returns what was wrong with the answer, or ""."""
    answer = await client.post("/v1/chat/completions", json=body)
    if answer.status_code != httpx.codes.OK:
        return f"{answer.status_code}: {answer.text[:200]}"
    if not body["stream"]:
        tokens = answer.json()["usage"]["completion_tokens"]
        return "" if tokens == body["max_tokens"] else f"{tokens} tokens"
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    if events[-1] != "[DONE]":
        return f"a stream that ended with {events[-1][:100]}"
    texts = [choice["delta"].get("content") for event in events[:-1] for choice in json.loads(event)["choices"]]
    return "" if any(texts) else "a stream without text"
