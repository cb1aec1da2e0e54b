"""Claims that wait to be written to the prefix index together: a batch costs a tenth of what they cost one by one."""

import numpy as np

from router.bucket_table import Hashes
from router.prefix_index import PrefixIndex

FLUSH_CHUNKS = 512


class DeferredClaims:
    """What observed replicas are believed to hold from now on, not written to the index yet.

    Nobody can tell: before a prompt is looked up, `settle` writes everything down if the prompt shares a chunk with
    what waits. It does so exactly if it shares the first chunk of a claim, because a chunk's hash stands for all before
    it too: who has a later chunk of a chain has its first.

    Args:
        index: where the claims go.
    """

    def __init__(self, index: PrefixIndex) -> None:
        self._index = index
        self._waiting: dict[str, list[Hashes]] = {}
        self._firsts: set[int] = set()
        self._chunks = 0

    def claim(self, replica_id: str, hashes: Hashes) -> None:
        """Note that a replica holds these chunks, one or more, which follow one another in a prompt."""
        self._firsts.add(hashes.item(0))
        self._waiting.setdefault(replica_id, []).append(hashes)
        self._chunks += len(hashes)
        if self._chunks >= FLUSH_CHUNKS:
            self.flush()

    def settle(self, hashes: Hashes) -> None:
        """Make the index good for a look-up of this prompt; shape (n,)."""
        if self._firsts and not self._firsts.isdisjoint(hashes.tolist()):
            self.flush()

    def flush(self) -> None:
        """Write all that waits to the index; replicas that are no longer known are passed over."""
        if not self._chunks:
            return
        for replica_id, claims in self._waiting.items():
            if len(claims) == 1:
                self._index.claim(replica_id, claims[0], distinct=True)
            else:
                self._index.claim(replica_id, np.concatenate(claims))
        self._waiting.clear()
        self._firsts.clear()
        self._chunks = 0
