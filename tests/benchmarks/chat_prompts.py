"""Prompts as a chat service sees them: a few system prompts, conversations that grow, a new message each time.

Of a prompt's words a quarter is the system prompt (one of eight in a run), half is the conversation so far (shared by
the four requests of that conversation) and a quarter is new. A policy that looks for shared prefixes finds them.
"""

import random

import msgspec

_ENGLISH = (
    "rack node tray domain switch fabric replica gateway router prompt token cache block prefix answer "
    "question model weight layer head batch queue stream chunk request latency budget limit tenant cluster the "
    "a of and to in is that for with as on by this from or which when where how why what capital country city "
    "river mountain paper history music water light energy heat power code function loop value error test "
    "result number table row column key list tree graph path edge vertex search sort merge split join read "
    "write open close begin end large small quick slow deep wide long short early late first second third last "
    "next please explain describe compare summarise translate rewrite improve extend shorten plan measure "
    "estimate prove refute because"
)
_VOCABULARY = _ENGLISH.split()
_SYSTEMS = 8
_REQUESTS_A_CONVERSATION = 4


def english(words: int, rng: random.Random) -> str:
    """Return `words` common words: about one token each."""
    return " ".join(rng.choices(_VOCABULARY, k=words))


class ChatPrompts:
    """Makes the `messages` of chat requests of exactly `words` words, the same for the same seed.

    Args:
        words: words of a prompt, at least 4.
        seed: another seed gives other conversations; the system prompts depend on `words` alone.
    """

    def __init__(self, words: int, seed: int) -> None:
        if words < 4:
            raise ValueError(f"a prompt needs at least 4 words, not {words}")
        quarter = words // 4
        self._rng = random.Random(seed)
        self._fresh_words = quarter
        history = words - 2 * quarter
        self._history_words = history // 2, history - history // 2
        systems = random.Random(words)
        self._systems = [english(quarter, systems) for _ in range(_SYSTEMS)]

    def messages(self, count: int) -> list[bytes]:
        """Return `count` message lists as JSON, in an order in which conversations interleave."""
        conversations = [self._conversation() for _ in range(-(-count // _REQUESTS_A_CONVERSATION))]
        made = []
        for i in range(count):
            history = conversations[i % len(conversations)]
            fresh = {"role": "user", "content": english(self._fresh_words, self._rng)}
            made.append(msgspec.json.encode([*history, fresh]))
        return made

    def _conversation(self) -> list[dict[str, str]]:
        asked, answered = self._history_words
        return [
            {"role": "system", "content": self._rng.choice(self._systems)},
            {"role": "user", "content": english(asked, self._rng)},
            {"role": "assistant", "content": english(answered, self._rng)},
        ]
