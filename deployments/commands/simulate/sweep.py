"""`--sweep KEY=VALUES`: one cluster file with another value at one key, once for each value."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from cluster.errors import SpecError, SpecProblem

MOST_VALUES: Final = 200
"""Values of a sweep at most: each is a whole run."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A key of the cluster file and the values to try there.

    Attributes:
        key: the key, with the places of lists as numbers: `models.0.replicas`.
        values: the values.
    """

    key: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, text: str) -> "Sweep":
        """Return what `--sweep` says: `models.0.replicas=4..12`, `…=4..12..2`, or `…=a,b,c`.

        Raises:
            SpecError: it says no key or no values.
        """
        key, equals, told = text.partition("=")
        if not key or not equals or not told:
            raise _wrong(text, "say KEY=VALUES, such as models.0.replicas=4..12 or models.0.policy=least_load,random")
        if ".." in told:
            try:
                first, last, *step = (int(part) for part in told.split(".."))
            except ValueError as error:
                raise _wrong(text, "a range is FIRST..LAST or FIRST..LAST..STEP, of whole numbers") from error
            values: tuple[Any, ...] = tuple(range(first, last + 1, step[0] if step else 1))
        else:
            values = tuple(yaml.safe_load(part) for part in told.split(","))
        if not 0 < len(values) <= MOST_VALUES:
            raise _wrong(text, f"{len(values)} values; 1 to {MOST_VALUES} are possible")
        return cls(key, values)

    def applied(self, data: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a parsed file
        """Yield a name and the changed content for each value.

        Args:
            data: the cluster file, parsed.

        Raises:
            SpecError: the key leads nowhere in the file.
        """
        *way, last = self.key.split(".")
        for value in self.values:
            changed = copy.deepcopy(data)
            place = changed
            for part in way:
                place = self._step(place, part)
            if isinstance(place, list):
                self._step(place, last)
                place[int(last)] = value
            elif isinstance(place, dict):
                place[last] = value
            else:
                raise _wrong(self.key, f"there is no mapping at {'.'.join(way)}")
            yield f"{last}={value}", changed

    def _step(self, place: Any, part: str) -> Any:  # noqa: ANN401 - a parsed file
        if isinstance(place, list) and part.isdigit() and int(part) < len(place):
            return place[int(part)]
        if isinstance(place, dict):
            return place.setdefault(part, {})
        raise _wrong(self.key, f"there is nothing at {part!r} of this key in the file")


def _wrong(text: str, message: str) -> SpecError:
    return SpecError("--sweep", [SpecProblem(text, message)])
