"""Which exact replicas of one model hold which prompt chunks, as they report it: chunk hash → set of replicas."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from router.prefix_cache.bucket_table import BUCKET, FEW, BucketTable, Slots
from router.prefix_cache.match import PrefixMatch, leading_run, leading_run_of_few
from router.prefix_cache.replica_columns import WORD, ReplicaColumns
from router.prompt.chunk_chain import Hashes

DEFAULT_MAX_SLOTS: Final = 1 << 23
"""Slots the index grows to by default: 201 MB with up to 64 replicas, room for 5.8 million distinct chunks."""
SWEEP_SLOTS: Final = 1 << 15
"""Slots wiped by one call of `sweep`."""
_STAMP: Final = 0
_TOKENS: Final = 1
_FIRST_WORD: Final = 2
_FEW: Final = 12
"""Chain length up to which chunks are looked up one by one: cheaper than the numpy calls for a batch."""
_PEEK: Final = 64
"""Chunks of a long chain that are looked up first; also the run length up to which masks are counted one by one."""
_LONG: Final = 256
"""Chain length above which the first `_PEEK` chunks are looked up alone: a chain that nobody holds then costs less."""
_ROUNDS: Final = 8
"""Attempts to make room for the chunks of one batch; chunks that still find none are not claimed."""


class PrefixIndex:
    """Claims "this replica holds this chunk", as one bit for each replica beside each chunk's hash.

    Each chunk also has the token count at its end, once a replica has reported it: it is the same for all of a model.

    Memory is bounded: the table doubles up to `max_slots`; then a new chunk whose two buckets are full pushes out the
    oldest chunk there. So a claim may be forgotten, which costs a recomputation, but none is ever invented.

    A dropped replica loses its claims at once. Their bits are wiped later, piece by piece in `sweep`, so that replicas
    that come and go often cannot stall the gateway.

    Args:
        max_slots: upper bound of the slots; rounded up to a power of two.
        slots: slots to start with.
    """

    def __init__(self, max_slots: int = DEFAULT_MAX_SLOTS, slots: int = 1024) -> None:
        payload: list[np.dtype[np.generic]] = [np.dtype(np.uint32), np.dtype(np.uint32), np.dtype(np.uint64)]
        self._table = BucketTable(payload, min(slots, max_slots))
        self._max_slots = 1 << max(2 * BUCKET - 1, max_slots - 1).bit_length()
        self._columns = ReplicaColumns()
        self._stamp = 0
        self._swept = 0

    # --- replicas

    @property
    def replicas(self) -> Sequence[str]:
        """The ids of known replicas, in no particular order."""
        return tuple(self._columns.by_id)

    def add_replica(self, replica_id: str) -> None:
        """Add a replica, without claims; do nothing where it is known already."""
        if replica_id in self._columns.by_id:
            return
        if not self._columns.has_free() and self._columns.retired:
            while not self.sweep():
                pass
        column = self._columns.take(replica_id)
        if column // WORD + _FIRST_WORD == len(self._table.payload):
            self._table.add_payload(np.dtype(np.uint64))

    def drop_replica(self, replica_id: str) -> None:
        """Forget a replica and all its claims; do nothing where it is not known."""
        self._columns.retire(replica_id)

    def claims(self, replica_id: str) -> int:
        """Return how many chunks are claimed for a replica; 0 where it is not known."""
        column = self._columns.by_id.get(replica_id)
        return 0 if column is None else self._columns.claims[column]

    # --- lookups

    def match(self, hashes: Hashes) -> PrefixMatch:
        """Return how many leading chunks each replica holds. Takes O(chunks), however many replicas there are.

        Args:
            hashes: a prompt's chain, shape (n,).
        """
        tokens, words = self._table.payload[_TOKENS], self._table.payload[_FIRST_WORD:]
        live = self._columns.live
        if not len(hashes) or self._table.find_one(hashes.item(0)) < 0:
            return PrefixMatch({}, 0, [])  # a new prompt: the usual case where chats differ
        counts = [0] * self._columns.width
        if len(hashes) <= _FEW:
            slots = self._leading_slots(hashes)
            token_ends = [tokens.item(slot) for slot in slots]
            for position, word in enumerate(words):
                masks = [word.item(slot) for slot in slots]
                leading_run_of_few(masks, live[position], counts, position * WORD)
        else:
            found = self._leading_found(hashes)
            token_ends = tokens[found].tolist()
            for position, word in enumerate(words):
                if len(found) <= _PEEK:
                    leading_run_of_few(word[found].tolist(), live[position], counts, position * WORD)
                else:
                    leading_run(word[found], live[position], counts, position * WORD)
        by_id = {name: counts[column] for name, column in self._columns.by_id.items() if counts[column]}
        return PrefixMatch(by_id, max(counts), token_ends)

    def _leading_found(self, hashes: Hashes) -> Slots:
        """Return the slots of the leading chunks that any replica holds; shape (at most n,)."""
        if len(hashes) <= _LONG:
            found = self._table.find(hashes)
        else:
            found = self._table.find(hashes[:_PEEK])
            if found.min() >= 0:
                found = np.concatenate([found, self._table.find(hashes[_PEEK:])])
        return found if found.min() >= 0 else found[: int((found < 0).argmax())]

    def _leading_slots(self, hashes: Hashes) -> list[int]:
        slots = []
        find_one = self._table.find_one
        for key in hashes.tolist():
            slot = find_one(key)
            if slot < 0:
                break
            slots.append(slot)
        return slots

    def holds(self, replica_id: str, hashes: Hashes) -> NDArray[np.bool_]:
        """Return for each chunk whether a replica holds it, whether or not it holds those before; shape (n,)."""
        column = self._columns.by_id.get(replica_id)
        if column is None:
            return np.zeros(len(hashes), np.bool_)
        slots = self._table.find(hashes)
        word, bit = self._bit(column)
        held: NDArray[np.bool_] = (slots >= 0) & ((word[slots] & bit) != 0)
        return held

    # --- claims

    def claim(self, replica_id: str, hashes: Hashes, tokens: NDArray[np.uint32] | None = None) -> None:
        """Note that a replica holds these chunks; do nothing where it is not known.

        Args:
            replica_id: the replica.
            hashes: the chunks, shape (n,).
            tokens: tokens from the prompt's start to each chunk's end, shape (n,); None or shape (0,): not known.
        """
        column = self._columns.by_id.get(replica_id)
        if column is None or not len(hashes):
            return
        self._claim(column, hashes)
        if tokens is not None and len(tokens):
            slots = self._table.find(hashes)
            stored = slots >= 0
            self._table.payload[_TOKENS][slots[stored]] = tokens[stored]

    def _claim(self, column: int, hashes: Hashes) -> None:
        self._stamp = self._stamp + 1 & 0xFFFF_FFFF
        if len(hashes) <= FEW and self._claim_few(column, hashes.tolist()):
            return
        word, bit = self._bit(column)
        slots = self._table.find(hashes)
        known = slots >= 0
        if known.any():
            self._set(column, slots[known])
            missing = hashes[~known]
        else:
            missing = hashes  # a new prompt: the usual case
        if len(missing) > 1:
            missing = np.unique(missing)
        for _ in range(_ROUNDS):
            if not len(missing):
                break
            while self._table.wants_growth(len(missing)) and self._table.slots < self._max_slots:
                self._table.grow()
            slots = self._table.place(missing)
            full = slots < 0
            missing, slots = missing[full], slots[~full]
            word, bit = self._bit(column)
            word[slots] = bit
            self._table.payload[_STAMP][slots] = self._stamp
            self._columns.claims[column] += len(slots)
            if len(missing):
                self._make_room(missing)

    def _claim_few(self, column: int, keys: list[int]) -> bool:
        """Claim one by one, which is cheaper than a small batch; return False where that needs room to be made."""
        table = self._table
        if table.wants_growth(len(keys)):
            return False
        word, bit = table.payload[_FIRST_WORD + column // WORD], 1 << column % WORD
        stamps = table.payload[_STAMP]
        for key in keys:
            slot = table.find_one(key)
            if slot < 0:
                slot = table.place_one(key)
                if slot < 0:
                    return False
            held = word.item(slot)
            if not held & bit:
                word[slot] = held | bit
                self._columns.claims[column] += 1
            stamps[slot] = self._stamp
        return True

    def _set(self, column: int, slots: Slots) -> None:
        if not len(slots):
            return
        word, bit = self._bit(column)
        before = word[slots]
        new = (before & bit) == 0
        if new.any():
            fresh = slots[new]
            if len(fresh) > 1:
                fresh = np.unique(fresh)
            word[fresh] |= bit
            self._columns.claims[column] += len(fresh)
        self._table.payload[_STAMP][slots] = self._stamp

    def _make_room(self, hashes: Hashes) -> None:
        """Grow, or push out the oldest chunk in the two buckets of each hash; both are full."""
        if self._table.slots < self._max_slots and self._table.crowded:
            self._table.grow()
            return
        slots = self._table.home_slots(hashes)
        age = self._stamp - self._table.payload[_STAMP][slots].astype(np.int64) & 0xFFFF_FFFF
        self._forget(np.unique(slots[np.arange(len(slots)), age.argmax(axis=1)]))

    def evict(self, replica_id: str, hashes: Hashes) -> None:
        """Note that a replica no longer holds these chunks; ignore unknown chunks and unknown replicas.

        Args:
            replica_id: the replica.
            hashes: the chunks, shape (n,).
        """
        column = self._columns.by_id.get(replica_id)
        if column is None or not len(hashes):
            return
        slots = self._table.find(hashes)
        self._clear(column, slots[slots >= 0])

    def replace(self, replica_id: str, hashes: Hashes, tokens: NDArray[np.uint32] | None = None) -> None:
        """Replace all claims of a replica by these chunks, after a resync; do nothing where it is not known."""
        if replica_id not in self._columns.by_id:
            return
        self._columns.retire(replica_id)
        self.add_replica(replica_id)
        self.claim(replica_id, hashes, tokens)

    def _clear(self, column: int, slots: Slots) -> None:
        word, bit = self._bit(column)
        held = slots[(word[slots] & bit) != 0]
        if not len(held):
            return
        if len(held) > 1:
            held = np.unique(held)
        word[held] &= ~bit
        self._columns.claims[column] -= len(held)
        self._free_unclaimed(held)

    def _free_unclaimed(self, slots: Slots) -> None:
        words = self._table.payload[_FIRST_WORD:]
        claimed = words[0][slots]
        for word in words[1:]:
            claimed = claimed | word[slots]
        self._table.free(slots[claimed == 0])

    def _forget(self, slots: Slots) -> None:
        """Push chunks out, for all replicas that hold them."""
        for position, word in enumerate(self._table.payload[_FIRST_WORD:]):
            for mask in (word[slots] & np.uint64(self._columns.live[position])).tolist():
                self._columns.uncount(mask, position * WORD)
        self._table.free(slots)

    def _bit(self, column: int) -> tuple[Hashes, np.uint64]:
        return self._table.payload[_FIRST_WORD + column // WORD], np.uint64(1 << column % WORD)

    # --- upkeep

    def sweep(self, slots: int = SWEEP_SLOTS) -> bool:
        """Wipe the bits of dropped replicas in the next `slots` slots; call about once a second.

        Returns:
            True where nothing is left to wipe.
        """
        if not self._columns.retired:
            return True
        if self._swept == 0:
            self._columns.begin_sweep()
        start, stop = self._swept, min(self._swept + slots, self._table.slots)
        words = self._table.payload[_FIRST_WORD:]
        claimed = np.zeros(stop - start, np.uint64)
        for position, word in enumerate(words):
            part = word[start:stop]
            part &= np.uint64(~self._columns.sweeping[position] & (1 << WORD) - 1)
            claimed |= part
        empty = np.flatnonzero((claimed == 0) & (self._table.keys[start:stop] != 0)) + start
        self._table.free(empty)
        self._swept = stop
        if stop == self._table.slots:
            self._swept = 0
            self._columns.end_sweep()
        return not self._columns.retired

    @property
    def chunks(self) -> int:
        """Number of distinct chunks stored, including those of dropped replicas that are not wiped yet."""
        return self._table.used

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self._table.nbytes

    def check_integrity(self) -> None:
        """Check the invariants.

        Raises:
            AssertionError: one is broken; the message says which.
        """
        self._table.check_integrity()
        self._columns.check_integrity()
        words = self._table.payload[_FIRST_WORD:]
        for replica_id, column in self._columns.by_id.items():
            word, bit = self._bit(column)
            held = int(np.count_nonzero(word & bit))
            if held != self._columns.claims[column]:
                raise AssertionError(f"{replica_id}: {self._columns.claims[column]} claims counted, {held} stored")
        known = self._columns.known
        claimed = np.zeros(self._table.slots, np.uint64)
        for position, word in enumerate(words):
            claimed |= word
            if (word & np.uint64(~known[position] & (1 << WORD) - 1)).any():
                raise AssertionError("a claim is for no replica")
        if (claimed[self._table.keys != 0] == 0).any():
            raise AssertionError("a chunk is stored that nobody holds")
