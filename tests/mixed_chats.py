"""Seeded chats of the kinds that make bytes and tokens differ: prose, code, JSON and Chinese, tools, short replies."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

_SENTENCE = (
    "the river runs through a wide valley where people have lived for a very long time and every year in spring when "
    "snow melts on the mountains water comes down with great energy and brings new soil to all fields along its banks "
    "so that history music light heat and power of this country were shaped by it as much as by any king or queen who "
    "ever ruled here because nobody can close or open such a stream at will they only learn to live with what it does"
)
_PROSE = _SENTENCE.split()
_CODE = (
    "def merge(left: list[int], right: list[int]) -> list[int]:\n    result = []\n    while left and right:\n        "
    "result.append((left if left[0] <= right[0] else right).pop(0))\n    return result + left + right\n\n"
    "class Table:\n    def __init__(self, rows=None):\n        self._rows = dict(rows or {})\n\n    def find(self, "
    "key):\n        for row in self._rows.get(key, ()):  # noqa\n            yield row['value'] * 0x1F ^ 17\n"
)
_CHINESE = (
    "东京世界人工智能模型推理缓存请求的是在有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学"
)
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Look up the {name} of a place, by its name and the country that it is in.",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "day": {"type": "integer"}}},
        },
    }
    for name in ("weather", "population", "time")
]


def text_of(kind: str, size: int, rng: Random) -> str:
    """Return about `size` characters that are like no other call's.

    Args:
        kind: `prose`, `code`, `json` or `chinese`.
        size: characters, or for Chinese a third.
        rng: where chance comes from.
    """
    if kind == "code":
        start = rng.randrange(len(_CODE))
        return f"# part {rng.randrange(10**6)}\n{(_CODE * (size // len(_CODE) + 2))[start : start + size].strip()}"
    if kind == "json":
        rows = [f'{{"id":{rng.randrange(10**6)},"price":{rng.random():.3f}}}' for _ in range(size // 28 + 1)]
        return f"[{','.join(rows)}]"
    if kind == "chinese":
        return "".join(rng.choices(_CHINESE, k=size // 3))
    return " ".join(rng.choices(_PROSE, k=size // 5))


@dataclass
class MixedChats:
    """Chats that go on in turns, a few at a time; some share a system prompt, some are asked the same again.

    Use: iterate over `bodies`, and give each answer to `answered` before the next.

    Attributes:
        seed: another seed, other chats.
        chats: how many.
        turns: of each.
        at_once: chats that take turns with one another.
        groups: system prompts; a third of the chats has none.
        system_chars: how long those are.
        message_chars: shortest and longest message of a user.
        kinds: of texts, see `text_of`.
        tools: every fifth chat has tools.
    """

    seed: int
    chats: int
    turns: int = 3
    at_once: int = 4
    groups: int = 3
    system_chars: int = 900
    message_chars: tuple[int, int] = (20, 500)
    kinds: tuple[str, ...] = ("prose", "code", "json", "chinese")
    tools: bool = True
    _messages: list[dict[str, str]] = field(default_factory=list)

    def bodies(self) -> Iterator[dict[str, Any]]:
        """Yield the chat requests' bodies, without a model."""
        rng = Random(self.seed)
        systems = [text_of(rng.choice(self.kinds), self.system_chars, rng) for _ in range(self.groups)]
        waiting = list(range(self.chats))
        going: dict[int, tuple[list[dict[str, str]], int]] = {}
        while waiting or going:
            while waiting and len(going) < self.at_once:
                chat = waiting.pop(0)
                has_system = rng.random() < 2 / 3
                begun = [{"role": "system", "content": systems[chat % self.groups]}] if has_system else []
                going[chat] = (begun, self.turns)
            chat = rng.choice(sorted(going))
            messages, left = going[chat]
            messages.append({"role": "user", "content": text_of(rng.choice(self.kinds), self._size(rng), rng)})
            body: dict[str, Any] = {"messages": list(messages)}
            if self.tools and chat % 5 == 0:
                body |= {"tools": _TOOLS, "tool_choice": "none"}  # it is the answers' text that goes on
            for _ in range(2 if rng.random() < 0.1 else 1):
                self._messages = messages
                yield body
            going[chat] = (messages, left - 1)
            if left == 1:
                del going[chat]

    def _size(self, rng: Random) -> int:
        return rng.randrange(*self.message_chars)

    def answered(self, text: str) -> None:
        """Take the answer to the body yielded last: the chat's next turn will hold it."""
        if self._messages[-1]["role"] == "assistant":
            self._messages.pop()  # it was asked twice: the later answer stays
        self._messages.append({"role": "assistant", "content": text})
