"""Step times of any layout by the planner's cost model, fast enough for a million requests.

`ReplicaCost.step_at` takes 30 µs or more, and a long run asks it for millions of different steps. Here it is asked on a
grid: every number of tokens up to 16, and from there eight to an octave. Between grid points the time is interpolated,
which is exact where a step is bound by one thing, and off by below 1 % where that changes.

The time is taken as a sum: what depends on the numbers of tokens, what the decoded sequences attend to, and what the
prompt tokens attend to. Those are the operations of a step, which follow one another. Only the public `step_at` is
used, so another cost model behind it needs no change here.
"""

from collections.abc import Callable, Sequence
from math import log2
from typing import Final

from cluster.model_shapes.precision import BF16
from cluster.replica_cost.communication import stage_hop_s
from cluster.replica_cost.cost_model import ReplicaCost
from deployments.simulator.disaggregation.step_times import Chunk

_EXACT: Final = 16
_PER_OCTAVE: Final = 8
_REFERENCE: Final = 1 << 16
"""Prompt tokens of the fullest rank at which the work that all ranks share is told apart from a rank's own."""


def _point(index: int) -> float:
    """Return the grid's value at an index."""
    return float(index) if index <= _EXACT else _EXACT * 2.0 ** ((index - _EXACT) / _PER_OCTAVE)


_POINTS: Final = tuple(_point(index) for index in range(_EXACT + 48 * _PER_OCTAVE))


def _place(value: float) -> tuple[int, float]:
    """Return the index of the grid's last point up to a value, and how far on to the next one it is, 0 to 1."""
    if value <= _EXACT:
        index = int(value)
        return index, value - index
    index = int(_EXACT + log2(value / _EXACT) * _PER_OCTAVE)
    low = _POINTS[index]
    return index, (value - low) / (_POINTS[index + 1] - low)


class Grid:
    """A function of two numbers, 0 or more each, asked on a grid and interpolated.

    Args:
        function: returns the value. Its first number takes few values, such as a batch's size.
    """

    __slots__ = ("_columns", "_function", "_places")

    def __init__(self, function: Callable[[float, float], float]) -> None:
        self._function = function
        self._columns: dict[int, dict[int, float]] = {}
        self._places: dict[float, tuple[int, float]] = {}

    def at(self, x: float, y: float) -> float:
        """Return the value at a point."""
        place = self._places.get(x)
        if place is None:
            place = self._places[x] = _place(x)
        column, part = place
        row, share = _place(y)
        value = self._between(column, row, share)
        return value + part * (self._between(column + 1, row, share) - value) if part else value

    def _between(self, column: int, row: int, share: float) -> float:
        """Return the value between two rows of a column."""
        values = self._columns.get(column)
        if values is None:
            values = self._columns[column] = {}
        try:
            value = values[row]
            return value + share * (values[row + 1] - value) if share else value
        except KeyError:
            for each in (row, row + 1):
                values[each] = self._function(_POINTS[column], _POINTS[each])
            return self._between(column, row, share)


class GridTimes:
    """Step times of one replica, of any layout; `EngineTimes` says what the methods return.

    Data-parallel ranks step together: a step takes what the rank with the most prompt tokens needs. A pipeline's
    micro-batches follow one another: a round takes at least what each of them needs through all stages, and what all
    together need in one.

    Args:
        cost: the replica's cost model.

    Attributes:
        lanes: its data-parallel ranks, times its pipeline stages.
        stages: its pipeline stages.
        tokens_per_step: mean tokens that a sequence gets from a step.
    """

    def __init__(self, cost: ReplicaCost) -> None:
        layout = cost.layout
        self.lanes = layout.data * layout.pipeline
        self.stages = layout.pipeline
        self.tokens_per_step = cost.per_step
        self._cost = cost
        self._data, self._pipeline = layout.data, layout.pipeline
        self._slowest = cost.shape.stage_layers(layout.pipeline) * layout.pipeline / cost.shape.layers
        at = cost.step_at
        self._base = Grid(lambda decode, prefill: at(decode, prefill, 0.0, 0.0).total)
        self._shared = Grid(lambda decode, mean: at(decode, mean, 0.0, 0.0, _REFERENCE).total)
        self._decode = Grid(
            lambda decode, context: at(decode, 0.0, context, 0.0).total - at(decode, 0.0, 0.0, 0.0).total
        )
        self._prefill = Grid(
            lambda prefill, context: at(1.0, prefill, 0.0, context).total - at(1.0, prefill, 0.0, 0.0).total
        )
        self._growth = Grid(
            lambda decode, context: (self._attention(decode, context + 64.0) - self._attention(decode, context)) / 64.0
        )
        within = layout.gpus <= cost.hardware.gpus_per_domain
        self._hop_speed = cost.hardware.link_bytes_per_s if within else cost.hardware.network_bytes_per_s
        self._is_within = within

    def _attention(self, decode: float, context: float) -> float:
        return self._cost.step_at(decode, 0.0, context, 0.0).total

    def step_s(self, running: int, context: int, chunks: Sequence[Chunk]) -> float:
        """Return the seconds of a step."""
        each = running / self.lanes
        attention_s = self._decode.at(each, context / running) if running else 0.0
        if not chunks:
            seconds = self._base.at(each, 0.0) + attention_s
            return seconds if self._pipeline == 1 else seconds * self._slowest + self._hops_s(each)
        if self.lanes == 1:
            tokens, attended = 0, 0.0
            for _, count, mean in chunks:
                tokens += count
                attended += count * mean
            return self._base.at(each, tokens) + attention_s + self._prefill.at(tokens, attended / tokens)
        return self._of_lanes(each, attention_s, chunks)

    def _of_lanes(self, each: float, attention_s: float, chunks: Sequence[Chunk]) -> float:
        tokens, attended = [0] * self.lanes, [0.0] * self.lanes
        for lane, count, mean in chunks:
            tokens[lane] += count
            attended[lane] += count * mean
        longest_s = sum_s = 0.0
        for stage in range(self._pipeline):
            ranks = range(stage * self._data, (stage + 1) * self._data)
            fullest = max(ranks, key=tokens.__getitem__)
            most = tokens[fullest]
            seconds = self._base.at(each, most) + attention_s
            if most:
                seconds += self._prefill.at(most, attended[fullest] / most)
                if self._data > 1:
                    mean = sum(tokens[rank] for rank in ranks) / self._data
                    seconds -= self._shared.at(each, most) - self._shared.at(each, mean)
            longest_s = max(longest_s, seconds)
            sum_s += seconds
        if self._pipeline == 1:
            return longest_s
        return max(longest_s, sum_s / self._pipeline) * self._slowest + self._hops_s(each + max(tokens))

    def growth_s(self, running: int, context: int) -> float:
        """Return the seconds that each step takes longer: every sequence attends to one token more."""
        if not running:
            return 0.0
        return max(0.0, self._growth.at(running / self.lanes, context / running))

    def prompt_growth_s(self, tokens: int, attended: float) -> float:
        """Return the seconds that each step takes longer, as its tokens attend to those of the step before."""
        return self._prefill.at(tokens, attended + tokens) - self._prefill.at(tokens, attended)

    def _hops_s(self, tokens: float) -> float:
        """Return the seconds in which activations go from stage to stage."""
        cost = self._cost
        sent = tokens * cost.shape.hidden * BF16.bytes / cost.layout.tensor
        return self._pipeline * stage_hop_s(sent, self._hop_speed, within_domain=self._is_within)
