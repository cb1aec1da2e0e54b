"""Which observed replicas of one model hold which prompt chunks: chunk hash → one bit for each replica, in a dict."""

from typing import Final, final

from router.prefix_cache.claims import clear, evict, use

MAX_CLAIMS: Final = 1 << 21
"""Claims, each one chunk of one replica, above which no replica may have more than an equal share of this number."""
MAX_LEAVING: Final = 64
"""Replicas that have left and still have bits in the masks. One more, and the bits of the first are wiped at once."""
SWEEP_CHUNKS: Final = 8192
"""Chunks of replicas that have left which one tick wipes: about a millisecond."""


@final
class ChunkLru:
    """The chunks that one replica is believed to hold, least recently used first.

    Attributes:
        replica_id: the replica.
        bit: its bit in the masks of the index.
        sizes: chunk hash → size of the chunk in bytes. A dict keeps the order in which keys came, so a chunk that is
            taken out and put back is the latest used.
        held_bytes: the sum of the sizes.
    """

    __slots__ = ("bit", "held_bytes", "replica_id", "sizes")

    def __init__(self, replica_id: str, bit: int) -> None:
        self.replica_id = replica_id
        self.bit = bit
        self.sizes: dict[int, int] = {}
        self.held_bytes = 0


@final
class ObservedIndex:
    """Claims "this replica holds this chunk" for replicas that do not report their cache.

    A chunk is in the dict while any replica holds it, also one that has left and whose bits are not wiped yet. Lookups
    leave those out. They are wiped in `use`, two for each new claim, and in `sweep`, so that no replica that leaves
    stalls the gateway.

    Args:
        max_claims: see `MAX_CLAIMS`.

    Attributes:
        claims: chunks of all replicas, those that have left included.
        max_claims: number of claims above which `share` applies.
    """

    def __init__(self, max_claims: int = MAX_CLAIMS) -> None:
        self.claims = 0
        self.max_claims = max_claims
        self._masks: dict[int, int] = {}
        self._live = 0
        self._names: list[str] = []
        self._lrus: dict[str, ChunkLru] = {}
        self._leaving: list[ChunkLru] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._masks)

    # --- replicas

    @property
    def replicas(self) -> list[str]:
        """The ids of known replicas."""
        return list(self._lrus)

    @property
    def share(self) -> int:
        """Chunks that each replica may keep while there are more than `max_claims` in all."""
        return self.max_claims // max(1, len(self._lrus))

    def join(self, replica_id: str) -> ChunkLru:
        """Add a replica that is not known, without claims; return its chunks."""
        if not self._free and len(self._leaving) >= MAX_LEAVING:
            self.sweep(len(self._leaving[0].sizes))
        if self._free:
            column = self._free.pop()
        else:
            column = len(self._names)
            self._names.append("")
        self._names[column] = replica_id
        lru = self._lrus[replica_id] = ChunkLru(replica_id, 1 << column)
        self._live |= lru.bit
        return lru

    def leave(self, replica_id: str) -> None:
        """Forget a replica and all its claims; do nothing where it is not known."""
        lru = self._lrus.pop(replica_id, None)
        if lru is not None:
            self._live &= ~lru.bit
            self._leaving.append(lru)
            self.sweep(0)

    def sweep(self, chunks: int = SWEEP_CHUNKS) -> None:
        """Wipe the bits of replicas that have left from at most `chunks` chunks."""
        while self._leaving:
            lru = self._leaving[0]
            gone: list[int] = []
            while lru.sizes and len(gone) < chunks:
                gone.append(lru.sizes.popitem()[0])  # from the end, where no deleted keys have to be passed over
            clear(self._masks, gone, lru.bit)
            self.claims -= len(gone)
            if lru.sizes:
                return
            chunks -= len(gone)
            del self._leaving[0]
            column = lru.bit.bit_length() - 1
            self._names[column] = ""
            self._free.append(column)

    # --- claims

    def claims_of(self, replica_id: str) -> int:
        """Return how many chunks a replica holds; 0 where it is not known."""
        lru = self._lrus.get(replica_id)
        return len(lru.sizes) if lru is not None else 0

    def match(self, hashes: list[int], counts: dict[str, int]) -> int:
        """Count the leading chunks of a prompt that each replica holds.

        Takes one step a chunk until no replica is left, and one for each replica that holds any.

        Args:
            hashes: the prompt's chunks.
            counts: receives, by id, the count of each replica that holds the first chunk.

        Returns:
            The largest count.
        """
        masks = self._masks
        held = self._live
        position = 0
        for chunk in hashes:
            kept = masks.get(chunk, 0) & held
            if kept != held:
                if position:
                    self._note(held ^ kept, position, counts)
                held = kept
                if not held:
                    return position
            position += 1
        if position:
            self._note(held, position, counts)
        return position if held else 0

    def _note(self, bits: int, count: int, counts: dict[str, int]) -> None:
        while bits:
            low = bits & -bits
            counts[self._names[low.bit_length() - 1]] = count
            bits ^= low

    def use(self, lru: ChunkLru, hashes: list[int], ends: list[int]) -> int:
        """Make a prompt's chunks the latest used of a replica, the first of them last; claim those that are new.

        Args:
            lru: the replica's chunks.
            hashes: the prompt's chunks.
            ends: where each of them ends in the prompt, in bytes.

        Returns:
            The number of new claims.
        """
        added_bytes, added = use(lru.sizes, self._masks, hashes, ends, lru.bit)
        lru.held_bytes += added_bytes
        self.claims += added
        if self._leaving:
            self.sweep(2 * added)
        return added

    def evict(self, lru: ChunkLru, excess_bytes: int, chunks: int) -> None:
        """Give up a replica's least recently used chunks: at least so many bytes, and at least so many chunks."""
        freed, gone = evict(lru.sizes, self._masks, lru.bit, excess_bytes, chunks)
        lru.held_bytes -= freed
        self.claims -= gone

    def release(self, lru: ChunkLru, chunks: list[int]) -> None:
        """Give up those of some chunks that a replica holds."""
        gone: list[int] = []
        for chunk in chunks:
            size = lru.sizes.pop(chunk, 0)
            if size:
                lru.held_bytes -= size
                gone.append(chunk)
        clear(self._masks, gone, lru.bit)
        self.claims -= len(gone)

    def check_integrity(self) -> None:
        """Check that the masks say the same as the replicas' chunks.

        Raises:
            AssertionError: they do not; the message says what is wrong.
        """
        expected: dict[int, int] = {}
        claims = 0
        columns = list(self._free)
        live = 0
        for lru in [*self._lrus.values(), *self._leaving]:
            columns.append(lru.bit.bit_length() - 1)
            claims += len(lru.sizes)
            for chunk in lru.sizes:
                expected[chunk] = expected.get(chunk, 0) | lru.bit
        for replica_id, lru in self._lrus.items():
            live |= lru.bit
            if sum(lru.sizes.values()) != lru.held_bytes:
                raise AssertionError(f"{replica_id}: {lru.held_bytes} bytes are counted, the sizes say otherwise")
            if self._names[lru.bit.bit_length() - 1] != replica_id:
                raise AssertionError(f"{replica_id}: its bit has another's name")
        if sorted(columns) != list(range(len(self._names))):
            raise AssertionError("a bit belongs to two replicas or to none")
        if expected != self._masks or claims != self.claims or live != self._live:
            raise AssertionError("the masks are not those of the replicas' chunks")
