"""Whether a replica that only computes prompts, or only decodes, fits those of the other kind that are there."""

from collections.abc import Iterable

from router.replicas.endpoint import Endpoint


def why_unfit(own: Endpoint, others: Iterable[Endpoint]) -> str:
    """Return why a new replica can hand KV blocks to none of its model's replicas, or take them from none.

    Args:
        own: the new replica's row.
        others: the directory's rows, of any model.

    Returns:
        The reason for one of them; "": it fits one, or there is none to fit yet.
    """
    mine, reason = own.transfer, ""
    if mine is None:
        return ""
    for other in others:
        theirs = other.transfer
        if theirs is None or other.model != own.model or other.replica_id == own.replica_id:
            continue
        for sender, receiver in ((mine, theirs), (theirs, mine)):
            if not sender.sends or not receiver.receives:
                continue
            why_not = sender.why_not_to(receiver)
            if not why_not:
                return ""
            reason = f"KV blocks cannot go between this replica and {other.replica_id}: {why_not}"
    return reason
