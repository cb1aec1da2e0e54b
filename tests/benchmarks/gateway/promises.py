"""What `bench-gateway` promises: CPU time beside the better peer, rest when idle, memory that does not grow."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.benchmarks.bars import Bar
from tests.benchmarks.gateway.contestants import COMPILED, INTERPRETED, PEERS
from tests.benchmarks.gateway.shapes import CHARACTERS_100K, STREAM, WORDS_40, WORDS_2000
from tests.benchmarks.rounds import Figures

CPU_BOUNDS: Final[Mapping[str, Mapping[str, float]]] = {
    COMPILED: {WORDS_40.name: 0.55, WORDS_2000.name: 0.6, CHARACTERS_100K.name: 0.65, STREAM.name: 0.85},
    INTERPRETED: {WORDS_40.name: 1.0, WORDS_2000.name: 1.1, CHARACTERS_100K.name: 1.1, STREAM.name: 0.95},
}
"""CPU time of a request at most, over that of the better peer."""
_CPU_AIMS: Final = {WORDS_40.name: 0.45, WORDS_2000.name: 0.5, CHARACTERS_100K.name: 0.55, STREAM.name: 0.75}
"""What the compiled form is to reach one day."""
IDLE_BOUND: Final = 0.01
"""Share of a core with 256 servers and no requests."""
MEMORY_BOUND: Final = 0.05
"""Growth of resident memory after the first tenth of the requests."""


def better_peer_us(figures: Figures) -> float | None:
    """Return the CPU microseconds a request of the peer that needs least; None if no peer ran."""
    return min((figures[peer]["cpu"].lowest for peer in PEERS if peer in figures), default=None)


def cpu_bars(figures: Mapping[str, Figures]) -> list[Bar]:
    """Return the bars of each form of our code and each shape that ran beside a peer."""
    bars = []
    for form, bounds in CPU_BOUNDS.items():
        for shape, bound in bounds.items():
            row = figures.get(shape, {})
            peer = better_peer_us(row)
            if peer is not None and form in row:
                aim = _CPU_AIMS[shape] if form == COMPILED else None
                bars.append(Bar(f"cpu_ratio_{shape}_{form}", row[form]["cpu"].lowest / peer, "<=", bound, aim=aim))
    return bars


def idle_bars(idle: Mapping[str, float]) -> list[Bar]:
    """Return the bars of a gateway's CPU time with 256 servers and no requests."""
    return [Bar(f"idle_256_{form}", idle[form], "<=", IDLE_BOUND) for form in CPU_BOUNDS if form in idle]


def memory_bars(memory: Sequence[tuple[int, int]]) -> list[Bar]:
    """Return the bar of memory's growth.

    Args:
        memory: (requests so far, resident bytes) along the way.
    """
    if not memory:
        return []
    warm = memory[max(0, len(memory) // 10 - 1)][1]
    return [Bar("gateway_rss_growth", memory[-1][1] / warm - 1, "<=", MEMORY_BOUND)]
