"""The telemetry that a policy needs: whether replicas provide it, and the message where they do not."""

from collections.abc import Sequence

from router.replicas.endpoint import Endpoint
from router.scheduling.profile import Profile
from router.scheduling.registry import base_of, needs_of, policy_names


def provides(endpoint: Endpoint, policy: Profile) -> bool:
    """Tell whether a replica provides all that a policy needs."""
    return policy.needs <= endpoint.signals


def why_unmet(policy: Profile, endpoints: Sequence[Endpoint]) -> str:
    """Return why no replica provides what a policy needs; "": one does, or there is no replica yet."""
    if not policy.needs or not endpoints or any(provides(endpoint, policy) for endpoint in endpoints):
        return ""
    return lack(policy, endpoints[0])


def lack(policy: Profile, endpoint: Endpoint) -> str:
    """Return what a replica lacks for a policy, why, and what to choose instead."""
    needed = " and ".join(sorted(policy.needs - endpoint.signals))
    has = ", ".join(sorted(endpoint.signals)) or "no telemetry"
    proof = f" ({endpoint.affinity_proof})" if endpoint.affinity_proof else ""
    others = [name for name in policy_names() if needs_of(name) <= endpoint.signals]
    others.sort(key=lambda name: name != base_of(policy.name))  # its closest relative first
    return (
        f"the policy {policy.name!r} needs {needed} of every replica; {endpoint.replica_id} provides {has}{proof}; "
        f"choose a policy that does without: {', '.join(others)}"
    )
