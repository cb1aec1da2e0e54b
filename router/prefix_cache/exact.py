"""A replica's cache as the replica itself reports it: numbered deltas, and a snapshot after each gap."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from router.prefix_cache.index import PrefixIndex
from router.prompt.chunk_chain import ChunkChain, Hashes

CONFIRM_S = 2.0
"""Seconds after a prompt's prefill within which the replica must confirm its chunks; then the claims are taken back."""


def anywhere_of(replica_id: str) -> str:
    """Return the name of the column for what a replica holds in any tier."""
    return f"{replica_id}\0anywhere"


@dataclass(frozen=True, slots=True)
class ResidencyDelta:
    """What changed in one replica's cache: one message of its residency stream.

    Within one delta, `evicted` happened before `resident` and `lower`: a chunk named in both is resident, or in a tier
    below the device.

    Attributes:
        sequence: number of the delta, one more than the one before in the same life of a replica; a snapshot has the
            number of the last delta it includes.
        resident: chunks that became resident, in a snapshot all resident chunks; shape (n,).
        evicted: chunks that have left the device, or the tiers below it; none in a snapshot; shape (m,).
        snapshot: `resident` is the whole cache, with `lower`.
        tokens: for each chunk of `resident`, tokens from the prompt's start to the chunk's end, by the replica's
            tokenizer and chat template; shape (n,), or (0,) where they are not known.
        lower: chunks that are only in a tier below the device now; shape (k,). None: the replica has no such tier.
        lower_tokens: as `tokens`, for each chunk of `lower`.
    """

    sequence: int
    resident: Hashes
    evicted: Hashes
    snapshot: bool = False
    tokens: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    lower: Hashes | None = None
    lower_tokens: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))


class ExactReplica:
    """One replica's residency, as the replica reports it.

    A prompt's chunks are claimed when it is sent. A delta must then confirm each of them; those that are not confirmed
    are taken back `CONFIRM_S` after the prompt was prefilled. A delta that comes twice or late changes nothing. After a
    gap no delta is applied until a snapshot has come. The old claims stay until then, so that one lost message does not
    empty the index; the snapshot replaces all of them but those still to be confirmed.

    A replica with tiers below its device has a second column in the index, under `anywhere_of` its id: the chunks that
    it holds on the device or below. So one walk down a prompt's chain counts both.

    Args:
        index: receives the claims.
        replica_id: the replica.
        kv_bytes: not used: the replica reports its own evictions.

    Attributes:
        synced: a snapshot has come, and every delta after it.
        has_tiers: the last snapshot says that the replica has tiers below its device.
        anywhere: the column for what it holds in any of them.
    """

    def __init__(self, index: PrefixIndex, replica_id: str, kv_bytes: int) -> None:
        del kv_bytes
        self._index = index
        self._replica_id = replica_id
        self._sequence = -1
        self.synced = False
        self.has_tiers = False
        self.anywhere = anywhere_of(replica_id)
        self._prompts = 0
        self._unconfirmed: dict[int, int] = {}
        self._claimed_for: dict[int, list[int]] = {}
        self._deadlines: deque[tuple[float, int]] = deque()

    def apply(self, delta: ResidencyDelta) -> bool:
        """Apply a delta or a snapshot; return False where deltas are missing and a snapshot is needed."""
        if delta.snapshot:
            self._index.replace(self._replica_id, delta.resident, delta.tokens)
            self._begin_tiers(delta)
            self._keep_expected()
            self._sequence = delta.sequence
            self.synced = True
            return True
        if not self.synced:
            return False
        if delta.sequence <= self._sequence:
            return True
        if delta.sequence > self._sequence + 1:
            self.synced = False
            return False
        self._sequence = delta.sequence
        self._index.evict(self._replica_id, delta.evicted)
        self._index.claim(self._replica_id, delta.resident, delta.tokens)
        if self.has_tiers and delta.lower is not None:
            self._index.evict(self.anywhere, delta.evicted)
            self._index.claim(self.anywhere, delta.resident)
            self._index.claim(self.anywhere, delta.lower, delta.lower_tokens)
        self._confirm(delta.evicted)
        self._confirm(delta.resident)
        return True

    def leave(self) -> None:
        """Forget the replica's claims: it is gone."""
        self._index.drop_replica(self._replica_id)
        self._index.drop_replica(self.anywhere)

    def _begin_tiers(self, snapshot: ResidencyDelta) -> None:
        """Replace the claims of all tiers by a snapshot's."""
        self._index.drop_replica(self.anywhere)
        self.has_tiers = snapshot.lower is not None
        if snapshot.lower is not None:
            self._index.add_replica(self.anywhere)
            self._index.claim(self.anywhere, snapshot.resident)
            self._index.claim(self.anywhere, snapshot.lower, snapshot.lower_tokens)

    def _keep_expected(self) -> None:
        """Claim again, after a snapshot, the chunks of sent prompts that are not in it yet."""
        if not self._unconfirmed:
            return
        expected = np.fromiter(self._unconfirmed, np.uint64, len(self._unconfirmed))
        confirmed = self._index.holds(self._replica_id, expected)
        self._confirm(expected[confirmed])
        self._index.claim(self._replica_id, expected[~confirmed])

    def _confirm(self, hashes: Hashes) -> None:
        unconfirmed = self._unconfirmed
        if unconfirmed:
            for chunk in hashes.tolist():
                unconfirmed.pop(chunk, None)

    def sent(self, chain: ChunkChain, held: int, now_s: float) -> int:
        """Claim the prompt's new chunks; the replica must confirm them. Return the prompt's number."""
        del now_s
        self._prompts += 1
        if held < len(chain):
            new = np.array(chain.hashes[held:], np.uint64)
            new = new[~self._index.holds(self._replica_id, new)]
            chunks = new.tolist()
            self._index.claim(self._replica_id, new)
            self._unconfirmed.update(dict.fromkeys(chunks, self._prompts))
            self._claimed_for[self._prompts] = chunks
        return self._prompts

    def prefilled(self, prompt: int, now_s: float) -> None:
        """Expect the confirmation within `CONFIRM_S` from now on."""
        if prompt in self._claimed_for:
            self._deadlines.append((now_s + CONFIRM_S, prompt))

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """Take the prompt's unconfirmed claims back."""
        del chain, held
        self._take_back(prompt)

    def answered(self, answer: ChunkChain) -> None:
        """Do nothing: the replica will report the answer's chunks itself."""

    def resize(self, kv_bytes: int) -> None:
        """Do nothing: the replica reports its own evictions."""

    def tick(self, now_s: float) -> None:
        """Take back the claims whose time to be confirmed is over."""
        while self._deadlines and self._deadlines[0][0] <= now_s:
            self._take_back(self._deadlines.popleft()[1])

    def _take_back(self, prompt: int) -> None:
        chunks = self._claimed_for.pop(prompt, [])
        mine = [chunk for chunk in chunks if self._unconfirmed.get(chunk) == prompt]
        for chunk in mine:
            del self._unconfirmed[chunk]
        if mine:
            self._index.evict(self._replica_id, np.array(mine, np.uint64))

    def check_integrity(self) -> None:
        """Check that each unconfirmed claim belongs to a prompt that will take it back.

        Raises:
            AssertionError: one does not.
        """
        waited_for = {chunk for chunks in self._claimed_for.values() for chunk in chunks}
        if not self._unconfirmed.keys() <= waited_for:
            raise AssertionError(f"{self._replica_id}: unconfirmed claims that no prompt will take back")
