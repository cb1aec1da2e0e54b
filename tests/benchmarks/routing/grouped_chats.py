"""Multi-turn chats in groups that share a system prompt: what a fleet of assistants sends, as a seeded load."""

import asyncio
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import msgspec

from tests.benchmarks.chat_prompts import english
from tests.benchmarks.token_streams import BrokenStreamError, Target

_DATA = "data: "
_DONE = "[DONE]"
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class ChatLoad:
    """What to send. The defaults are the shape issue 3 promises figures for: system prompts of about 550 tokens.

    Of its prompt tokens one infinite cache, with nothing ever computed twice at the same time, would hold 0.82.

    Attributes:
        chats: how many conversations.
        turns: requests of each; every answer is part of the next prompt.
        groups: how many different system prompts; chats take them in turn.
        system_words: words of a system prompt, about one token each.
        message_words: words of a user's message.
        at_a_time: conversations under way at once; each sends its next turn when the last is answered.
        tokens: length of each answer; the model is not let stop earlier.
        seed: of all words and of the order of chats; another seed shares nothing.
    """

    chats: int = 24
    turns: int = 4
    groups: int = 12
    system_words: int = 545
    message_words: int = 12
    at_a_time: int = 6
    tokens: int = 16
    seed: int = 0

    def openings(self) -> list[tuple[str, list[str]]]:
        """Return each chat's system prompt and user messages, in the order the chats begin."""
        rng = random.Random(self.seed)
        systems = [english(self.system_words, rng) for _ in range(self.groups)]
        chats = [
            (systems[chat % self.groups], [english(self.message_words, rng) for _ in range(self.turns)])
            for chat in range(self.chats)
        ]
        rng.shuffle(chats)
        return chats


@dataclass(slots=True)
class ChatsSeen:
    """What came back.

    Attributes:
        ttft_s: time to the first token, one a request, in the order in which answers ended.
        prompt_tokens: of all prompts, as the engines counted.
        cached_tokens: of those, what the engines had in their prefix caches.
        tokens: generated.
        wall_s: from the first request to the last token.
    """

    ttft_s: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    wall_s: float = 0.0

    def figures(self) -> dict[str, tuple[float, str]]:
        """Return what a run is compared by: value and unit by name."""
        return {
            "ttft_mean": (statistics.fmean(self.ttft_s), "s"),
            "ttft_p90": (statistics.quantiles(self.ttft_s, n=10, method="inclusive")[-1], "s"),
            "rate": (self.tokens / self.wall_s, "tokens/s"),
            "cached_share": (self.cached_tokens / self.prompt_tokens, "of prompt tokens"),
        }


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


def run_chats(target: Target, load: ChatLoad) -> ChatsSeen:
    """Send a load and return what came back.

    Raises:
        BrokenStreamError: an answer was refused, cut or not as long as asked for; there is no figure then.
    """
    return asyncio.run(_all_chats((target,), load))


def run_chats_by_group(targets: Sequence[Target], load: ChatLoad) -> ChatsSeen:
    """Send every group's chats to one target, each new group to the next; for the errors see `run_chats`."""
    return asyncio.run(_all_chats(targets, load))


async def _all_chats(targets: Sequence[Target], load: ChatLoad) -> ChatsSeen:
    seen = ChatsSeen()
    began_s = time.perf_counter()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(target)) for target in targets]
        chats = load.openings()
        groups = list(dict.fromkeys(system for system, _ in chats))
        homes = {system: clients[number % len(clients)] for number, system in enumerate(groups)}
        waiting = ((homes[system], system, questions) for system, questions in chats)
        async with asyncio.TaskGroup() as group:
            for _ in range(load.at_a_time):
                group.create_task(_chats_in_turn(targets[0].model, load, waiting, seen))
    seen.wall_s = time.perf_counter() - began_s
    return seen


def _client(target: Target) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {target.bearer}"} if target.bearer else {}
    return httpx.AsyncClient(
        base_url=f"http://{target.host}:{target.port}", headers=headers, timeout=_TIMEOUT_S, trust_env=False
    )


async def _chats_in_turn(
    model: str, load: ChatLoad, waiting: Iterator[tuple[httpx.AsyncClient, str, list[str]]], seen: ChatsSeen
) -> None:
    """Hold the next chat that waits, and so on until none does."""
    for client, system, questions in waiting:
        messages = [{"role": "system", "content": system}]
        for question in questions:
            messages.append({"role": "user", "content": question})
            body = {
                "model": model,
                "messages": messages,
                "stream": True,
                "stream_options": {"include_usage": True},
                "temperature": 0.0,
                "ignore_eos": True,
                "max_tokens": load.tokens,
            }
            messages.append({"role": "assistant", "content": await _answer(client, body, load.tokens, seen)})


async def _answer(client: httpx.AsyncClient, body: dict[str, object], tokens: int, seen: ChatsSeen) -> str:
    """Send one request, note what it took, and return the answer's text."""
    said: list[str] = []
    usage: _Usage | None = None
    first_s: float | None = None
    sent_s = time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != httpx.codes.OK:
            raise BrokenStreamError(f"{response.status_code}: {(await response.aread()).decode(errors='replace')}")
        async for line in response.aiter_lines():
            if not line.startswith(_DATA) or line.startswith(_DATA + _DONE):
                continue
            event = msgspec.json.decode(line.removeprefix(_DATA), type=_Event)
            if first_s is None and event.choices:
                first_s = time.perf_counter()
            said += [choice.delta.content for choice in event.choices if choice.delta.content]
            usage = event.usage or usage
    if usage is None or first_s is None or usage.completion_tokens != tokens:
        raise BrokenStreamError(f"{tokens} tokens were asked for; the answer ended with {usage}")
    if usage.prompt_tokens_details is None or usage.prompt_tokens_details.cached_tokens is None:
        raise BrokenStreamError("the engine does not say what it had cached (--enable-prompt-tokens-details)")
    seen.ttft_s.append(first_s - sent_s)
    seen.prompt_tokens += usage.prompt_tokens
    seen.cached_tokens += usage.prompt_tokens_details.cached_tokens
    seen.tokens += usage.completion_tokens
    return "".join(said)
