"""The simulated engine's LoRA adapters: which it may serve, and which are loaded. Pure."""

from collections import Counter
from collections.abc import Iterable

from cluster.autoscaling.ewma import Ewma

KEEP = 0.9
"""Share of the past that each load leaves in the mean of their times: in effect the last ten count."""


class SimAdapters:
    """Adapters and their slots, as in vLLM: one batch uses at most `slots` adapters, and loads stop all of it.

    An adapter is loaded when a sequence begins that uses it, and pushed out by another one when no running sequence
    uses it and it is the least recently used.

    Args:
        slots: adapters that may be loaded at once; 0: none may.
        load_s: seconds of a load.

    Attributes:
        known: the adapters that requests may ask for.
        loads: number of loads so far.
        load_s: mean seconds of the last loads; 0: there was none.
    """

    def __init__(self, slots: int, load_s: float) -> None:
        self.slots = slots
        self.known: frozenset[str] = frozenset()
        self.loads = 0
        self._seconds_of_one = load_s
        self._times = Ewma()
        self._held: dict[str, None] = {}
        self._running: Counter[str] = Counter()

    @property
    def held(self) -> tuple[str, ...]:
        """The adapters that are loaded, the least recently used first."""
        return tuple(self._held)

    @property
    def load_s(self) -> float:
        """Mean seconds of the last loads; 0: there was none."""
        return self._times.mean

    def set_known(self, names: Iterable[str]) -> None:
        """Serve exactly these adapters from now on; sequences that use others go on."""
        self.known = frozenset(names)
        for name in self._held.keys() - self.known - self._running.keys():
            del self._held[name]

    def fits(self, name: str) -> bool:
        """Tell whether a sequence with this adapter, or with none (""), may join the batch now."""
        return not name or name in self._running or len(self._running) < self.slots

    def begin(self, name: str) -> float:
        """Count a sequence that joins the batch; return the seconds of the load that it needs, mostly 0."""
        if not name:
            return 0.0
        self._running[name] += 1
        if name in self._held:
            self._held[name] = self._held.pop(name)
            return 0.0
        if len(self._held) >= self.slots:
            del self._held[next(other for other in self._held if other not in self._running)]
        self._held[name] = None
        self.loads += 1
        self._times = self._times.observed(self._seconds_of_one, 1.0, KEEP)
        return self._seconds_of_one

    def end(self, name: str) -> None:
        """Count a sequence that leaves the batch."""
        if name:
            self._running[name] -= 1
            if not self._running[name]:
                del self._running[name]

    def check_integrity(self, running: Iterable[str]) -> None:
        """Check that the adapters of exactly these running sequences count as in use, and are loaded.

        Raises:
            AssertionError: the message says what is wrong.
        """
        if Counter(name for name in running if name) != self._running:
            raise AssertionError("the adapters in use are not those of the running sequences")
        if self._running.keys() - self._held.keys() or len(self._held) > max(self.slots, len(self._running)):
            raise AssertionError("an adapter is in use without a slot")
