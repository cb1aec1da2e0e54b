"""What a replica says of its LoRA adapters: which it can serve, and which are loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AdapterReport:
    """The adapters of a replica at one moment.

    Attributes:
        known: names of those that it can serve, loaded or not.
        held: names of those that are loaded, the least recently used first.
        slots: how many can be loaded at once; of more, the least recently used one without a request is dropped.
        load_s: mean seconds that its last loads took, during which its engine does nothing else; 0: it made none yet.
        loads: number of loads since it started.
        problems: for each adapter that it was told to serve and cannot, why.
    """

    known: frozenset[str]
    held: tuple[str, ...]
    slots: int
    load_s: float = 0.0
    loads: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)
