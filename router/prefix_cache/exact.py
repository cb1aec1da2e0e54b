"""A replica's cache as the replica itself reports it: numbered deltas, and a snapshot whenever one was missed."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from router.prefix_cache.index import PrefixIndex
from router.prompt.chunk_chain import ChunkChain, Hashes

CONFIRM_S = 2.0
"""What a prompt should have made resident is taken back when it is not confirmed so long after its prefill."""


@dataclass(frozen=True, slots=True)
class ResidencyDelta:
    """What changed in one replica's cache; the contract of the residency stream.

    Within one delta, `evicted` happened before `resident`: a chunk named in both is resident.

    Attributes:
        sequence: grows by one with each delta of one replica life; a snapshot has the number of the last delta in it.
        resident: chunks that became resident; in a snapshot all that are. Shape (n,).
        evicted: chunks that are no longer; empty in a snapshot.
        snapshot: `resident` is everything there is.
        tokens: for each of `resident`, how many tokens of a prompt it takes to cover the chunk and all before it, by
            the replica's tokenizer and template; shape (n,), or (0,) where that is not known.
    """

    sequence: int
    resident: Hashes
    evicted: Hashes
    snapshot: bool = False
    tokens: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))


class ExactReplica:
    """One replica's residency, kept in step with its own word.

    Prompts are claimed when they are sent; each claim must then be confirmed by a delta, or is taken back `CONFIRM_S`
    after the prompt was prefilled. Deltas that come twice or late change nothing. After a gap nothing is believed until
    a snapshot has come: what was claimed stays, so that one lost message does not empty the index, and goes with it.

    Args:
        index: where the claims go.
        replica_id: whose they are.
        kv_bytes: not used: the replica says what it evicts.

    Attributes:
        synced: a snapshot has come, and every delta after it.
    """

    def __init__(self, index: PrefixIndex, replica_id: str, kv_bytes: int) -> None:
        del kv_bytes
        self._index = index
        self._replica_id = replica_id
        self._sequence = -1
        self.synced = False
        self._prompts = 0
        self._unconfirmed: dict[int, int] = {}
        self._claimed_for: dict[int, list[int]] = {}
        self._deadlines: deque[tuple[float, int]] = deque()

    def apply(self, delta: ResidencyDelta) -> bool:
        """Take a delta or a snapshot; return False where a snapshot is needed."""
        if delta.snapshot:
            self._index.replace(self._replica_id, delta.resident, delta.tokens)
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
        self._index.claim(self._replica_id, delta.resident, tokens=delta.tokens)
        self._confirm(delta.evicted)
        self._confirm(delta.resident)
        return True

    def _keep_expected(self) -> None:
        """Claim again what was sent and is not in the snapshot yet."""
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
        """Claim the prompt until the replica confirms it."""
        del now_s
        self._prompts += 1
        if held < len(chain):
            new = chain.hashes[held:]
            new = new[~self._index.holds(self._replica_id, new)]
            chunks = new.tolist()
            self._index.claim(self._replica_id, new)
            self._unconfirmed.update(dict.fromkeys(chunks, self._prompts))
            self._claimed_for[self._prompts] = chunks
        return self._prompts

    def prefilled(self, prompt: int, now_s: float) -> None:
        """Expect the confirmation from now on."""
        if prompt in self._claimed_for:
            self._deadlines.append((now_s + CONFIRM_S, prompt))

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """Take the unconfirmed claims back."""
        del chain, held
        self._take_back(prompt)

    def answered(self, answer: ChunkChain) -> None:
        """Do nothing: the replica will say so itself."""

    def resize(self, kv_bytes: int) -> None:
        """Do nothing: the replica says what it evicts."""

    def tick(self, now_s: float) -> None:
        """Take back what should have been confirmed by now."""
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
        """Check that whatever waits for its confirmation is waited for by a prompt.

        Raises:
            AssertionError: it is not.
        """
        waited_for = {chunk for chunks in self._claimed_for.values() for chunk in chunks}
        if not self._unconfirmed.keys() <= waited_for:
            raise AssertionError(f"{self._replica_id}: claims that nobody will take back")
