"""A string that fits a JSON schema's lengths, pattern and format."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID

from deployments.engines.sim.generation.text import VOCABULARY
from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.regex_text import text_matching

MAX_CHARS: Final = 4096
"""Longest string that a schema may ask for, in characters."""
WORDS: Final = 3
"""Most words of a string whose length the schema leaves open."""
TRIES: Final = 8

_PLAIN: Final = tuple(word for word in VOCABULARY if word.isascii() and word.isalpha())


def string_within(schema: dict[str, Any], rng: Random) -> str:
    """Return a string that fits `pattern`, `format`, `minLength` and `maxLength`.

    Raises:
        UnfitError: none was found.
    """
    fewest, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", MAX_CHARS))
    if fewest > min(most, MAX_CHARS):
        raise UnfitError(f"a string of at least {fewest} and at most {min(most, MAX_CHARS)} characters")
    if "pattern" in schema:
        for _ in range(TRIES):
            text = text_matching(schema["pattern"], rng, whole=False)
            if fewest <= len(text) <= most:
                return text
        raise UnfitError(f"no string of {fewest} to {most} characters was found that matches {schema['pattern']!r}")
    formatted = _FORMATS.get(schema.get("format", ""))
    if formatted is not None:
        return formatted(rng)
    text = " ".join(rng.choices(_PLAIN, k=rng.randint(1, WORDS)))
    while len(text) < fewest:
        text += " " + rng.choice(_PLAIN)
    return text[:most]


def word(rng: Random) -> str:
    """Return one word of ASCII letters."""
    return rng.choice(_PLAIN)


def _moment(rng: Random) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(2 * 365 * 86_400))


# 192.0.2.0/24, 2001:db8::/32 and example.com are reserved for examples (RFC 5737, RFC 3849, RFC 2606).
_FORMATS: Final[dict[str, Callable[[Random], str]]] = {
    "date-time": lambda rng: _moment(rng).isoformat().replace("+00:00", "Z"),
    "date": lambda rng: _moment(rng).date().isoformat(),
    "time": lambda rng: _moment(rng).time().isoformat() + "Z",
    "duration": lambda rng: f"P{rng.randint(1, 9)}DT{rng.randint(1, 23)}H",
    "email": lambda rng: f"{word(rng)}.{word(rng)}@example.com",
    "hostname": lambda rng: f"{word(rng)}.example.com",
    "ipv4": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "ipv6": lambda rng: f"2001:db8::{rng.randint(1, 0xFFFF):x}",
    "uri": lambda rng: f"https://example.com/{word(rng)}",
    "uuid": lambda rng: str(UUID(int=rng.getrandbits(128), version=4)),
    "json-pointer": lambda rng: f"/{word(rng)}",
}
