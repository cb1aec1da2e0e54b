"""A text that matches a regular expression, made by a walk through the parsed expression.

Assertions (begin, end, word boundary, look-ahead, look-behind) are passed over, so the finished text is matched
against the expression, and another is tried if it does not fit.
"""

import re
import string
from collections.abc import Callable
from random import Random
from typing import Any, Final

from deployments.engines.sim.guided.errors import UnfitError

MAX_PATTERN_CHARS: Final = 1024
"""Longest expression that is taken, in characters."""
MAX_TEXT_CHARS: Final = 4096
"""Longest text that is made, in characters."""
MORE_REPEATS: Final = 4
"""Most repetitions beyond the fewest that a `*`, `+` or `{m,n}` gets."""
TRIES: Final = 8

_CHARS: Final = (
    string.ascii_lowercase + string.ascii_uppercase + string.digits + " _-.,:;!?/+*()[]{}@#%&=<>'\"\\|~^$`\n\t"
)
_CATEGORIES: Final[dict[str, Callable[[str], bool]]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda char: not char.isdigit(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda char: not char.isspace(),
    "CATEGORY_WORD": lambda char: char.isalnum() or char == "_",
    "CATEGORY_NOT_WORD": lambda char: not (char.isalnum() or char == "_"),
}


def text_matching(pattern: str, rng: Random, *, whole: bool = True) -> str:
    """Return a text that matches a regular expression.

    Args:
        pattern: the expression, in Python's syntax.
        rng: makes the choices.
        whole: the whole text must match; otherwise a part of it, as in JSON schemas.

    Raises:
        UnfitError: the expression is wrong or too long, or no text was found.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise UnfitError(f"a regex of {len(pattern)} characters; at most {MAX_PATTERN_CHARS} are taken")
    try:
        compiled = re.compile(pattern)
        parsed = re._parser.parse(pattern)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public parser
    except (re.error, OverflowError, RecursionError) as exc:
        raise UnfitError(f"invalid regex {pattern!r}: {exc}") from exc
    for _ in range(TRIES):
        walk = _Walk(rng)
        text = walk.items(parsed)
        if compiled.fullmatch(text) if whole else compiled.search(text):
            return text
    raise UnfitError(f"no text was found that matches the regex {pattern!r}")


class _Walk:
    """One walk through a parsed expression."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._groups: dict[int, str] = {}
        self._left = MAX_TEXT_CHARS

    def items(self, items: Any) -> str:  # noqa: ANN401 - the parser's own types
        """Return the text of consecutive parts."""
        return "".join([self._item(str(op), value) for op, value in items])

    def _item(self, op: str, value: Any) -> str:  # noqa: ANN401, C901, PLR0911 - the parser's types; one case a kind
        match op:
            case "LITERAL":
                return self._char(chr(value))
            case "NOT_LITERAL":
                return self._char(self._chosen(lambda char: char != chr(value)))
            case "ANY":
                return self._char(self._rng.choice(string.ascii_lowercase))
            case "IN":
                return self._char(self._of_set(value))
            case "CATEGORY":
                return self._char(self._chosen(_CATEGORIES[str(value)]))
            case "BRANCH":
                return self.items(self._rng.choice(value[1]))
            case "SUBPATTERN":
                text = self.items(value[-1])
                self._groups[value[0]] = text
                return text
            case "ATOMIC_GROUP":
                return self.items(value)
            case "GROUPREF":
                return "".join(map(self._char, self._groups.get(value, "")))
            case "GROUPREF_EXISTS":
                return self.items((value[1] if value[0] in self._groups else value[2]) or [])
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                fewest, most, inner = value
                times = fewest + self._rng.randint(0, min(int(most) - fewest, MORE_REPEATS))
                return "".join([self.items(inner) for _ in range(times)])
            case _:
                return ""  # an assertion

    def _char(self, char: str) -> str:
        self._left -= 1
        if self._left < 0:
            raise UnfitError(f"a regex whose texts are longer than {MAX_TEXT_CHARS} characters")
        return char

    def _of_set(self, members: Any) -> str:  # noqa: ANN401 - the parser's own types
        negated = bool(members) and str(members[0][0]) == "NEGATE"
        if negated:
            return self._chosen(lambda char: not any(_contains(member, char) for member in members[1:]))
        op, value = self._rng.choice(members)
        match str(op):
            case "LITERAL":
                return chr(value)
            case "RANGE":
                low, high = value
                return chr(self._rng.randint(low, high))
            case _:
                return self._chosen(_CATEGORIES[str(value)])

    def _chosen(self, fits: Callable[[str], bool]) -> str:
        found = [char for char in _CHARS if fits(char)] or [char for char in map(chr, range(32, 0x250)) if fits(char)]
        if not found:
            raise UnfitError("a regex with a set of characters that has none")
        return self._rng.choice(found)


def _contains(member: Any, char: str) -> bool:  # noqa: ANN401 - the parser's own types
    op, value = member
    match str(op):
        case "LITERAL":
            return ord(char) == int(value)
        case "RANGE":
            return int(value[0]) <= ord(char) <= int(value[1])
        case _:
            return _CATEGORIES[str(value)](char)
