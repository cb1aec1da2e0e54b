"""A number within the bounds that a JSON schema gives."""

from fractions import Fraction
from math import ceil, floor
from random import Random
from typing import Any, Final

from deployments.engines.sim.guided.errors import UnfitError

SPAN: Final = 100
"""Width of the range that a number is drawn from where the schema leaves a side open."""
STEP: Final = Fraction(1, 100)
"""Steps in which numbers are drawn that need not be whole."""


def number_within(schema: dict[str, Any], rng: Random, *, whole: bool) -> int | float:
    """Return a number that fits `minimum`, `maximum`, their exclusive forms and `multipleOf`.

    Args:
        schema: the schema.
        rng: makes the choice.
        whole: only whole numbers fit.

    Raises:
        UnfitError: no number fits.
    """
    low, open_low = _bound(schema, "minimum", "exclusiveMinimum", largest=True)
    high, open_high = _bound(schema, "maximum", "exclusiveMaximum", largest=False)
    if low is None:
        low = Fraction(0) if high is None or high > 0 else high - SPAN
    if high is None:
        high = low + SPAN
    step = _step(schema, whole=whole)
    first, last = ceil(low / step), floor(high / step)
    first += open_low and first * step == low
    last -= open_high and last * step == high
    if first <= last:
        found = rng.randint(first, last) * step
    elif not whole and "multipleOf" not in schema and low < high:
        found = (low + high) / 2
    elif not whole and "multipleOf" not in schema and low == high and not (open_low or open_high):
        found = low
    else:
        raise UnfitError(f"no number from {float(low):g} to {float(high):g} is a multiple of {float(step):g}")
    return int(found) if found.denominator == 1 else float(found)


def _step(schema: dict[str, Any], *, whole: bool) -> Fraction:
    multiple = schema.get("multipleOf")
    if multiple is None:
        return Fraction(1) if whole else STEP
    step = Fraction(str(multiple))
    # The least common multiple of a fraction in lowest terms and 1 is its numerator.
    return Fraction(step.numerator) if whole else step


def _bound(schema: dict[str, Any], closed: str, opened: str, *, largest: bool) -> tuple[Fraction | None, bool]:
    """Return the stricter of a closed and an open bound, and whether it is the open one."""
    close, open_ = schema.get(closed), schema.get(opened)
    if isinstance(open_, bool):  # in drafts up to 4 it says how `minimum` is meant
        return (None if close is None else Fraction(str(close))), open_
    if close is None and open_ is None:
        return None, False
    if open_ is None or (close is not None and (close > open_ if largest else close < open_)):
        return Fraction(str(close)), False
    return Fraction(str(open_)), True
