"""Backpressure: for how long a replica that says it has too much to do is left alone."""

BRIEF_S = 0.5
"""Seconds where the replica does not say, and the fewest where it does: about one answer's time."""
LONGEST_S = 30.0
"""Most seconds. A replica that asks for more is asked again after these: a wrong date must not put it out for hours."""


def pause_s(retry_after_s: float | None) -> float:
    """Return the seconds for which a busy replica gets no new requests.

    Args:
        retry_after_s: what its `retry-after` says, in seconds; None: nothing.
    """
    return BRIEF_S if retry_after_s is None else min(LONGEST_S, max(BRIEF_S, retry_after_s))
