"""The policies by the names the cluster file gives them."""

from collections.abc import Callable
from difflib import get_close_matches

from cluster.errors import PolicyError
from router.policy.filters import RandomSample
from router.policy.pickers import Lowest, Rotation
from router.policy.profile import Profile
from router.policy.scorers import Even, Load


def _round_robin() -> Profile:
    return Profile("round_robin", scorer=Even(), picker=Rotation())


def _least_load() -> Profile:
    return Profile("least_load", scorer=Load(), picker=Lowest())


def _power_of_two() -> Profile:
    return Profile("power_of_two", filters=[RandomSample(2)], scorer=Load(), picker=Lowest())


POLICIES: dict[str, Callable[[], Profile]] = {
    "least_load": _least_load,
    "power_of_two": _power_of_two,
    "round_robin": _round_robin,
}


def policy_named(name: str) -> Profile:
    """Make a new policy; policies keep state (whose turn it is), so each model has its own.

    Raises:
        PolicyError: there is no policy of that name.
    """
    make = POLICIES.get(name)
    if make is None:
        close = get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise PolicyError(f"no routing policy is called {name!r}; {hint}there are: {', '.join(sorted(POLICIES))}")
    return make()
