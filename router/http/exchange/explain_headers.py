"""The header lines that explain where a request went, for clients that send `x-rackserve-explain`."""

from router.dispatch.attempt import Attempt


def explain_headers(attempt: Attempt) -> bytes:
    """Return header lines with the replica, the policy that picked it, and how much of the prompt it should hold."""
    expectation = attempt.expectation
    return (
        f"x-rackserve-replica: {attempt.replica.replica_id}\r\nx-rackserve-policy: {attempt.decision.policy}\r\n"
        f"x-rackserve-matched-chars: {expectation.matched_bytes}\r\n"
        f"x-rackserve-matched-tokens: {expectation.matched_tokens:.0f}\r\n"
    ).encode("latin-1")
