"""One thing that is fuzzed."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is fuzzed.

    Attributes:
        check: takes an input; raises anything at all where a promise is broken.
        seeds: good inputs to begin with.
        words: what inputs are made of, beside their bytes.
    """

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
