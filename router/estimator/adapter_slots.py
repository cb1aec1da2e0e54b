"""Which adapters one replica has loaded, as one gateway expects, and what it costs to load another one there."""

from collections.abc import Collection
from typing import Final, final

from router.estimator.learning.fading_mean import FadingMean
from router.estimator.learning.fading_rates import FadingRates
from router.replicas.adapter_report import AdapterReport

FIRST_LOAD_S: Final = 0.5
"""Seconds that a load is expected to take before any replica has made one. Adapters of tens of MB are read in tenths of
a second; a guess that is too high only keeps the first few together for longer."""
USE_MEMORY_S: Final = 300.0
"""Seconds after which a request counts 1/e, about a third, in how often its adapter is asked for."""
AT_LEAST_S: Final = 5.0
"""Shortest time in seconds over which rates are taken, so that the first requests make no high rate."""
_KEEP_LASTS: Final = 0.95
"""Share of the past that each request leaves in the mean time that requests last: in effect the last 20 count."""


@final
class AdapterUse:
    """The use of one model's adapters, of all of one gateway's requests.

    Attributes:
        holders: number of replicas that have each adapter loaded; none: 0.
        load_s: seconds of a load, as a replica told last; 0: none has.
        requests: number of requests so far for each adapter that is served.
        replicas: number of replicas.
    """

    __slots__ = ("_asked", "_loads", "holders", "load_s", "replicas", "requests")

    def __init__(self) -> None:
        self.holders: dict[str, int] = {}
        self.load_s = 0.0
        self.replicas = 0
        self.requests: dict[str, int] = {}
        self._asked: dict[str, FadingRates] = {}
        self._loads = FadingRates(USE_MEMORY_S)

    def asked(self, name: str, now_s: float) -> None:
        """Count a request for an adapter."""
        self.requests[name] = self.requests.get(name, 0) + 1
        rates = self._asked.get(name)
        if rates is None:
            rates = self._asked[name] = FadingRates(USE_MEMORY_S)
        rates.fade(now_s)
        rates.counts[0] += 1.0

    def loaded(self, now_s: float) -> None:
        """Count a load on any replica."""
        self._loads.fade(now_s)
        self._loads.counts[0] += 1.0

    def told(self, load_s: float) -> None:
        """Take the seconds that a replica says a load takes; 0: it made none yet."""
        if load_s > 0.0:
            self.load_s = load_s

    def keep_only(self, names: Collection[str]) -> None:
        """Forget the use of adapters that are no longer served."""
        for name in [name for name in self._asked if name not in names]:
            del self._asked[name], self.requests[name]

    def comes_back(self, name: str, now_s: float) -> float:
        """Return the chance that an adapter is asked for before its replica's next load, which may push it out, 0 to 1.

        Requests for it and loads come at random: of two such streams with the rates a and b, the next event is of the
        first with the chance a / (a + b).
        """
        rates = self._asked.get(name)
        if rates is None:
            return 0.0
        asked = rates.per_s(now_s, AT_LEAST_S)
        loads = self._loads.per_s(now_s, AT_LEAST_S) / max(1, self.replicas)
        return asked / (asked + loads) if asked > 0.0 else 0.0


@final
class AdapterSlots:
    """The adapters on one replica.

    By its last report, and by the requests that this gateway has sent since: each of these loads its adapter, which
    pushes out the least recently used one that no request uses. So requests that come before the next report find the
    adapters that their predecessors load, not those of a moment ago.

    Args:
        use: how often the model's adapters are asked for, and how many replicas hold each.

    Attributes:
        report: the replica's last word; None: it has told nothing yet.
        loading_until_s: when the loads that this gateway's requests make there should have ended, monotonic seconds.
    """

    __slots__ = ("_held", "_in_use", "_lasts", "_loading", "_use", "loading_until_s", "report")

    def __init__(self, use: AdapterUse) -> None:
        self.report: AdapterReport | None = None
        self.loading_until_s = 0.0
        self._loading = 0
        self._use = use
        use.replicas += 1
        self._held: dict[str, None] = {}
        self._in_use: dict[str, tuple[int, float]] = {}
        self._lasts = FadingMean()

    @property
    def held(self) -> list[str]:
        """Names of the adapters that are loaded, or being loaded, the least recently used first."""
        return list(self._held)

    @property
    def load_s(self) -> float:
        """Expected seconds of a load."""
        told = self.report.load_s if self.report is not None else 0.0
        return told or self._use.load_s or FIRST_LOAD_S

    def may_serve(self, name: str) -> bool:
        """Tell whether the replica can serve an adapter, as far as it has told."""
        return self.report is None or name in self.report.known

    def weigh(self, name: str, now_s: float) -> tuple[float, float]:
        """Return what a request for an adapter costs on this replica beside its prompt, both in seconds.

        Returns:
            The seconds that its engine needs to load the adapter; 0: it is loaded. And what comes on top: the wait
            until a slot is free, and the later load of the adapter that is pushed out.
        """
        if name in self._held:
            return 0.0, 0.0
        load_s = self.load_s
        slots = self.report.slots if self.report is not None else 0
        if not slots or len(self._held) < slots:
            return load_s, 0.0
        victim = self._victim()
        if victim is None:
            return load_s, self._slot_wait_s(slots, now_s)
        if self._use.holders.get(victim, 0) > 1:
            return load_s, 0.0  # its requests go to another one
        return load_s, load_s * self._use.comes_back(victim, now_s)

    def sent(self, name: str, now_s: float) -> float:
        """Count a request that is sent to the replica; return the expected seconds of the load that it makes."""
        self._use.asked(name, now_s)
        count, _ = self._in_use.get(name, (0, 0.0))
        self._in_use[name] = (count + 1, now_s)
        if name in self._held:
            self._held[name] = self._held.pop(name)
            return 0.0
        load_s = self.load_s
        slots = self.report.slots if self.report is not None else 0
        while slots and len(self._held) >= slots and (victim := self._victim()) is not None:
            self._drop(victim)
        self._hold(name)
        self._use.loaded(now_s)
        self._loading += 1
        self.loading_until_s = max(now_s, self.loading_until_s) + load_s
        return load_s

    def loaded(self, now_s: float) -> None:
        """Note that a request that made a load has its first token, or has ended without one."""
        self._loading -= 1
        if not self._loading:
            self.loading_until_s = min(self.loading_until_s, now_s)

    def ended(self, name: str, sent_s: float, now_s: float) -> None:
        """Note that a request has ended, which was sent at `sent_s`."""
        count, last_s = self._in_use[name]
        if count > 1:
            self._in_use[name] = (count - 1, last_s)
        else:
            del self._in_use[name]
        self._lasts.observe(now_s - sent_s, 1.0, _KEEP_LASTS)

    def reported(self, report: AdapterReport) -> None:
        """Take the replica's word. What this gateway's requests load there, and it does not list yet, stays."""
        self.report = report
        self._use.told(report.load_s)
        held = dict.fromkeys(report.held)
        held |= dict.fromkeys(name for name in self._in_use if name not in held)
        for name in self._held.keys() - held.keys():
            self._drop(name)
        for name in held:
            if name in self._held:
                self._held[name] = self._held.pop(name)
            else:
                self._hold(name)

    def left(self) -> None:
        """Note that the replica is gone."""
        self._use.replicas -= 1
        for name in list(self._held):
            self._drop(name)

    def _hold(self, name: str) -> None:
        self._held[name] = None
        self._use.holders[name] = self._use.holders.get(name, 0) + 1

    def _drop(self, name: str) -> None:
        del self._held[name]
        left = self._use.holders[name] - 1
        if left:
            self._use.holders[name] = left
        else:
            del self._use.holders[name]

    def _victim(self) -> str | None:
        """Return the least recently used adapter that no request uses; None: all are in use."""
        for name in self._held:
            if name not in self._in_use:
                return name
        return None

    def _slot_wait_s(self, slots: int, now_s: float) -> float:
        """Return the seconds until the requests of enough adapters have ended that one more finds a slot."""
        lasts_s = self._lasts.mean if self._lasts.weight else 0.0
        ends = sorted(last_s + lasts_s for _, last_s in self._in_use.values())
        place = len(ends) - slots
        return max(0.0, ends[place] - now_s) if 0 <= place < len(ends) else 0.0

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        if self._loading < 0:
            raise AssertionError("more loads have ended than were made")
        if any(count < 1 for count, _ in self._in_use.values()):
            raise AssertionError("an adapter without a request counts as in use")
        if self._in_use.keys() - self._held.keys():
            raise AssertionError("a request uses an adapter that does not count as loaded")
        if any(self._use.holders.get(name, 0) < 1 for name in self._held):
            raise AssertionError("an adapter that is loaded here counts as loaded nowhere")
