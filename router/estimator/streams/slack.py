"""One replica's slack: the time that its streams can spare for prompts before their tokens come too slowly.

Streams are held to a mean time per token (TPOT). While n of them run, a token takes less than that; the rest of the
time is theirs to give. So a decode replica is also a prefill replica, of the speed `spare`: the more streams it has,
the slower. Prompts that it computes are owed to its streams, and paid back from that rest.
"""

from math import exp, inf, log
from typing import Final, final

from router.estimator.streams.speed import StreamSpeed

TARGET_SHARE: Final = 0.95
"""Share of the streams whose target is kept: the usual share of service level objectives."""
MARGIN: Final = 0.95
"""Share of a target that is planned with, as streams differ and batches grow."""
ASSUMED_SLOWDOWN: Final = 2.0
"""Multiple of the time of a token that runs alone, which streams without a target of their own are held to."""
LEAST_SPARE: Final = 0.05
"""Least share of the time: replicas at their limit are still compared with each other."""
CREDIT: Final = 0.2
"""Share of what a mean stream can spare over its length that may be owed before prompts cost more than their own time.

Not all of it, since streams that are shorter than the mean, or nearly at their end, have less time to make good."""
STEEPNESS: Final = 2
"""Power with which the price rises with what is owed: little below the credit, fast above it."""
MOST_TIMES: Final = 100.0
"""Bound on that rise: however slow a replica is, a prompt that nobody else computes is computed there."""
MISS_S: Final = 4.0
"""Seconds before a first token that a missed target counts as: about the targets of long prompts."""
MISS_POWER: Final = 8
"""Power with which tokens' time over its target counts: 0.43 of a miss at nine tenths of it, 2.1 at eleven tenths."""
MOST_OVER: Final = 10.0
"""Times a target beyond which being slower still costs no more: it is missed by far."""
LEAST_TARGET_S: Final = 1e-4
"""Least seconds a token that a target is taken for."""
MOST_TARGET_S: Final = 1e4
"""Most seconds a token that a target is taken for."""
_CLASS_STEP: Final = 1.1
"""Targets are kept in classes that differ by this factor, so that there are few however many clients set."""


@final
class StreamSlack:
    """What the streams of one replica can spare."""

    __slots__ = ("_at_s", "_owed_s", "_targets")

    def __init__(self) -> None:
        self._targets: dict[int, int] = {}
        self._owed_s = 0.0
        self._at_s = 0.0

    def join(self, tpot_s: float) -> int:
        """Count a request that is to be answered there; return the class of its target, to `leave` with."""
        number = _class_of(tpot_s)
        self._targets[number] = self._targets.get(number, 0) + 1
        return number

    def leave(self, number: int) -> None:
        """Take out a request whose target has this class."""
        left = self._targets[number] - 1
        if left:
            self._targets[number] = left
        else:
            del self._targets[number]

    def target_s(self, speed: StreamSpeed) -> float:
        """Return the seconds a token that its streams are held to: of the targets the lowest but few."""
        return _seconds(self._lowest(), speed)

    @property
    def told_s(self) -> float:
        """The same of the targets that requests have; infinite: few have any."""
        number = self._lowest()
        return inf if number == _NO_TARGET else float(_CLASS_STEP**number)

    def _lowest(self) -> int:
        targets = self._targets
        if not targets:
            return _NO_TARGET
        if len(targets) == 1:
            return next(iter(targets))
        left = (1.0 - TARGET_SHARE) * sum(targets.values())
        for number in sorted(targets):
            left -= targets[number]
            if left < 0.0:
                break
        return number

    def spare(self, running: int, speed: StreamSpeed) -> float:
        """Return the share of its time that it can give to prompts, above 0 and at most 1.

        Args:
            running: streams that run there.
            speed: what they cost each other.
        """
        if running <= 0:
            return 1.0
        return max(LEAST_SPARE, 1.0 - speed.each_s(running) / (MARGIN * self.target_s(speed)))

    def owed_s(self, running: int, speed: StreamSpeed, now_s: float) -> float:
        """Return the seconds of prefill that its streams have not made good yet; what ended ones were owed is gone."""
        if running <= 0 or self._owed_s <= 0.0:
            return 0.0
        passed_s = now_s - self._at_s
        left_s = self._owed_s * exp(-passed_s / (speed.mean_tokens * speed.each_s(running)))
        return max(0.0, left_s - passed_s * self.spare(running, speed))

    def spend(self, stopped_s: float, running: int, speed: StreamSpeed, now_s: float) -> None:
        """Count a prompt that the replica computes, in seconds for which it stops the streams; below 0: it does not."""
        self._owed_s = max(0.0, self.owed_s(running, speed, now_s) + stopped_s)
        self._at_s = now_s

    def price_s(self, stopped_s: float, running: int, speed: StreamSpeed, now_s: float) -> float:
        """Return what a prompt computed there costs its streams, in seconds before a first token.

        As a prefill replica of the speed `spare` it would be done with this prompt, after those that are owed already,
        at (owed + prefill) / spare. Streams that have most of their slack left lose nothing by it.
        """
        if running <= 0:
            return 0.0
        owed_s = self.owed_s(running, speed, now_s) + stopped_s
        slack_s = speed.mean_tokens * (MARGIN * self.target_s(speed) - speed.each_s(running))
        times = (owed_s / (CREDIT * slack_s)) ** STEEPNESS if slack_s > 0.0 else MOST_TIMES
        return owed_s / self.spare(running, speed) * min(times, MOST_TIMES)

    def joining_s(self, tpot_s: float, running: int, speed: StreamSpeed) -> float:
        """Return what one more stream costs, in seconds before a first token: its own and the others' slower tokens.

        Streams with tight targets thus come to replicas with few others, and those that can wait come to each other.

        Args:
            tpot_s: its target; infinite: it has none.
            running: streams that will run there without it.
            speed: what they cost each other.
        """
        before_s, after_s = speed.each_s(running) / MARGIN, speed.each_s(running + 1) / MARGIN
        own = _missed(after_s, _seconds(_class_of(tpot_s), speed))
        others = 0.0
        for number, count in self._targets.items():
            target_s = _seconds(number, speed)
            others += count * (_missed(after_s, target_s) - _missed(before_s, target_s))
        if others:
            others *= running / sum(self._targets.values())  # other gateways' streams are taken to be like this one's
        return MISS_S * (own + others)

    def crowding_s(self, tpot_s: float, miss_s: float, running: int, speed: StreamSpeed) -> float:
        """Return the same where the replica computes its streams' prompts, too: by how many miss their targets then.

        Args:
            tpot_s: its target; infinite: it has none.
            miss_s: seconds before a first token that a missed target counts as: those of the request's own target, as
                that delay would miss it as surely; infinite: it has none, so `MISS_S`.
            running: streams that will run there with it.
            speed: what they cost each other, and how far they scatter.
        """
        risk_over = speed.scatter.risk_over
        after_s, before_s = speed.mixed_s(running), speed.mixed_s(running - 1)
        missed = risk_over(_seconds(_class_of(tpot_s), speed) / after_s)
        others = 0.0
        for number, count in self._targets.items():
            target_s = _seconds(number, speed)
            others += count * (risk_over(target_s / after_s) - risk_over(target_s / before_s))
        if others:
            others *= running / sum(self._targets.values())  # other gateways' streams are taken to be like this one's
        return (miss_s if miss_s < inf else MISS_S) * (missed + others)

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not.
        """
        if any(count <= 0 for count in self._targets.values()):
            raise AssertionError("a class of targets is kept that no request has")


_NO_TARGET: Final = 1 << 20


def _class_of(tpot_s: float) -> int:
    if tpot_s == inf:
        return _NO_TARGET
    return round(log(min(max(tpot_s, LEAST_TARGET_S), MOST_TARGET_S)) / log(_CLASS_STEP))


def _seconds(number: int, speed: StreamSpeed) -> float:
    return ASSUMED_SLOWDOWN * speed.each_s(0) if number == _NO_TARGET else float(_CLASS_STEP**number)


def _missed(token_s: float, target_s: float) -> float:
    """Return by how many misses a token's time counts."""
    return float(min(token_s / target_s, MOST_OVER) ** MISS_POWER)
