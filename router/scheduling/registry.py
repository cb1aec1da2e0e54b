"""The policies, by their names in the cluster file."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache

from cluster.errors import PolicyError
from router.estimator.model_estimator import ModelEstimator
from router.replicas.endpoint import Signal
from router.scheduling.consistent_hash import Rendezvous
from router.scheduling.expected_ttft import ExpectedTtft
from router.scheduling.filters import BoundedLoad, RandomSample
from router.scheduling.pickers import Lowest, Rotation
from router.scheduling.prefix_affinity import UncachedBytes
from router.scheduling.profile import Profile
from router.scheduling.scorers import Even, Load


def _round_robin(estimator: ModelEstimator) -> Profile:
    del estimator
    return Profile("round_robin", scorer=Even(), picker=Rotation())


def _least_load(estimator: ModelEstimator) -> Profile:
    del estimator
    return Profile("least_load", scorer=Load(), picker=Lowest())


def _power_of_two(estimator: ModelEstimator) -> Profile:
    del estimator
    return Profile("power_of_two", filters=[RandomSample(2)], scorer=Load(), picker=Lowest())


def _expected_ttft(estimator: ModelEstimator) -> Profile:
    return Profile("expected_ttft", scorer=ExpectedTtft(estimator), picker=Lowest())


def _prefix_affinity(estimator: ModelEstimator) -> Profile:
    del estimator
    return Profile("prefix_affinity", filters=[BoundedLoad()], scorer=UncachedBytes(), picker=Lowest())


def _consistent_hash(estimator: ModelEstimator) -> Profile:
    del estimator
    return Profile("consistent_hash", filters=[BoundedLoad()], scorer=Rendezvous(), picker=Lowest())


POLICIES: dict[str, Callable[[ModelEstimator], Profile]] = {
    "consistent_hash": _consistent_hash,
    "expected_ttft": _expected_ttft,
    "least_load": _least_load,
    "power_of_two": _power_of_two,
    "prefix_affinity": _prefix_affinity,
    "round_robin": _round_robin,
}


READS_CACHES = frozenset({"expected_ttft", "prefix_affinity"})
"""Policies whose costs depend on cache contents. Those of a replica that does not report them are inferred."""
COUNTS_SECONDS = frozenset({"expected_ttft"})
"""Policies whose costs are seconds, so that it can be weighed where a prompt is computed."""
EXACT = ":exact"
"""Suffix to the name of such a policy, which then needs every replica to report its cache contents."""
READS_PROMPTS = READS_CACHES | {"consistent_hash"}
"""Policies that look at prompts. For any other the gateway hashes no prompts and learns nothing from answers."""


def policy_names() -> list[str]:
    """Return every name that `policy_named` takes."""
    return sorted([*POLICIES, *(name + EXACT for name in READS_CACHES)])


def base_of(name: str) -> str:
    """Return a policy's name without `EXACT`."""
    return name.removesuffix(EXACT)


def reads_prompts(name: str) -> bool:
    """Tell whether a policy looks at prompts."""
    return base_of(name) in READS_PROMPTS


@cache
def needs_of(name: str) -> frozenset[Signal]:
    """Return the telemetry that a policy needs of every replica."""
    return policy_named(name).needs


def policy_named(name: str, estimator: ModelEstimator | None = None) -> Profile:
    """Make a policy. Policies keep state (whose turn it is), so each model needs its own.

    Args:
        name: one of `policy_names()`.
        estimator: the estimator of the model's replicas; None: an empty one.

    Raises:
        PolicyError: there is no policy of that name.
    """
    names = policy_names()
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise PolicyError(f"no routing policy is called {name!r}; {hint}there are: {', '.join(names)}")
    policy = POLICIES[base_of(name)](estimator or ModelEstimator())
    return policy if name in POLICIES else policy.insisting(name, frozenset({Signal.RESIDENCY}))
