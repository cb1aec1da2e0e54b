"""An open-addressing hash table in numpy arrays: 64-bit keys in buckets of eight slots, two possible buckets a key.

A Python dict costs over 100 bytes an entry and one interpreter step a key. Here an entry costs its key and payload, and
a dozen numpy calls look up a whole batch of keys.

Each key may stand in two buckets, its homes. There is no probe sequence, so a lookup reads two cache lines however full
the table is, a removed key leaves no tombstone to clean up, and keys chosen to collide crowd out only one another. With
two homes of eight slots, the emptier one overflows only well above the fill at which the table grows (Azar, Broder,
Karlin, Upfal: "Balanced Allocations", 1999).
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from router.prompt.chunk_chain import Hashes

Slots = NDArray[np.int64]

BUCKET = 8
"""Slots in one bucket."""
MAX_FILL = 0.7
"""Share of used slots above which the table doubles."""
CROWDED_FILL = 0.35
"""Share of used slots up to which a full bucket means that its keys collide: growing would not help."""
ROOMY = 3
"""Empty slots in its first home below which a key goes to the emptier of the two. So most keys are found in their first
home, and the two homes still fill evenly before either is full."""
MANY = 64
"""Batch size above which second homes are read only for the keys that are not in their first."""
FEW = 6
"""Batch size up to which keys are looked up one by one: cheaper than the numpy calls for a batch."""
_SECOND_HOME_SHIFT = 32
"""A key's second home is given by its bits from this one on; its first home by its lowest bits."""
_SPLIT_SLOTS = 1 << 16
"""Slots handled at a time when the table grows, so that temporary arrays stay small."""

_Kind = TypeVar("_Kind", bound=np.generic)


class BucketTable:
    """Keys and, at the same slot of each payload array, what is stored for them. Key 0 is reserved for empty slots.

    Args:
        payload: the data type of each payload array.
        slots: slots to start with; rounded up to a power of two, at least 16.

    Attributes:
        keys: shape (slots,), 0 where empty.
        payload: arrays of shape (slots,), 0 where empty. Growing replaces them, so callers must not keep them.
        used: number of keys stored.
    """

    def __init__(self, payload: list[np.dtype[np.generic]], slots: int = 1024) -> None:
        size = 1 << max(2 * BUCKET - 1, slots - 1).bit_length()
        self.keys: Hashes = np.zeros(size, np.uint64)
        self.payload: list[NDArray[Any]] = [np.zeros(size, kind) for kind in payload]
        self.used = 0
        self._set_views()

    def _set_views(self) -> None:
        self._buckets = len(self.keys) // BUCKET
        self._mask = self._buckets - 1
        self._wide_mask = np.uint64(self._mask)
        self._rows = self.keys.reshape(-1, BUCKET)
        self._flat = memoryview(self.keys.data)

    @property
    def slots(self) -> int:
        """Number of slots, used and empty."""
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self.keys.nbytes + sum(array.nbytes for array in self.payload)

    def find_one(self, key: int) -> int:
        """Return the slot of one key, or -1 where it is not stored."""
        flat = self._flat
        start = (key & self._mask) * BUCKET
        row = flat[start : start + BUCKET].tolist()
        if key in row:
            return start + row.index(key)
        start = (key >> _SECOND_HOME_SHIFT & self._mask) * BUCKET
        row = flat[start : start + BUCKET].tolist()
        return start + row.index(key) if key in row else -1

    def find(self, keys: Hashes) -> Slots:
        """Return the slot of each key, -1 where it is not stored; shape (n,)."""
        count = len(keys)
        if count <= FEW:
            find_one = self.find_one
            return np.array([find_one(key) for key in keys.tolist()], np.int64)
        if count > MANY:
            return self._find_many(keys)
        slots = np.full(count, -1, np.int64)
        homes = self._homes(keys)
        position = (self._rows.take(homes, axis=0) == keys[:, None]).ravel().nonzero()[0]
        home = position >> 3
        slots[home % count] = (homes.ravel().take(home) << 3) + (position & (BUCKET - 1))
        return slots

    def _find_many(self, keys: Hashes) -> Slots:
        slots = np.full(len(keys), -1, np.int64)
        left, left_keys = np.arange(len(keys)), keys
        for shift in (0, _SECOND_HOME_SHIFT):
            homes = (left_keys >> np.uint64(shift) & self._wide_mask).view(np.int64)
            found = self._rows.take(homes, axis=0) == left_keys[:, None]
            position = found.ravel().nonzero()[0]
            home = position >> 3
            slots[left.take(home)] = (homes.take(home) << 3) + (position & (BUCKET - 1))
            if len(home) == len(left) or shift:
                break
            missing = np.ones(len(keys), np.bool_)
            missing[home] = False
            left = missing.nonzero()[0]
            left_keys = keys.take(left)
        return slots

    def _homes(self, keys: Hashes) -> Slots:
        """Return the two buckets of each key, shape (2, n)."""
        homes = np.empty((2, len(keys)), np.uint64)
        np.copyto(homes[0], keys)
        np.right_shift(keys, _SECOND_HOME_SHIFT, out=homes[1])
        homes &= self._wide_mask
        return homes.view(np.int64)

    def place(self, keys: Hashes) -> Slots:
        """Store keys that are not in the table yet, each named once; their payload is 0 until the caller writes it.

        Returns:
            The slot of each key, -1 where both its homes are full; shape (n,).
        """
        placed = np.full(len(keys), -1, np.int64)
        left = np.arange(len(keys))
        while len(keys):
            homes = self._homes(keys)
            empty = self._rows.take(homes, axis=0) == 0
            room = np.count_nonzero(empty, axis=2)
            emptier = ((room[0] < ROOMY) & (room[1] > room[0])).astype(np.int64)
            each = np.arange(len(keys))
            slots = homes[emptier, each] * BUCKET + empty[emptier, each].argmax(axis=1)
            fits = room.max(axis=0) > 0
            if not fits.all():
                keys, slots, left = keys[fits], slots[fits], left[fits]
            self.keys[slots] = keys  # where two keys chose one slot the last stays; the others choose again
            won = self.keys[slots] == keys
            if won.all():
                placed[left] = slots
                break
            placed[left[won]] = slots[won]
            keys, left = keys[~won], left[~won]
        self.used += int(np.count_nonzero(placed >= 0))
        return placed

    def place_one(self, key: int) -> int:
        """Store a key that is not in the table yet; return its slot, or -1 where both its homes are full."""
        flat = self._flat
        start = (key & self._mask) * BUCKET
        row = flat[start : start + BUCKET].tolist()
        room = row.count(0)
        if room < ROOMY:
            second = (key >> _SECOND_HOME_SHIFT & self._mask) * BUCKET
            other = flat[second : second + BUCKET].tolist()
            if other.count(0) > room:
                start, row, room = second, other, other.count(0)
            if not room:
                return -1
        slot = start + row.index(0)
        flat[slot] = key
        self.used += 1
        return slot

    def home_slots(self, keys: Hashes) -> Slots:
        """Return the slots of each key's two homes, shape (n, 2 * BUCKET)."""
        homes = self._homes(keys)[:, :, None] * BUCKET + np.arange(BUCKET)
        return np.concatenate([homes[0], homes[1]], axis=1)

    def free(self, slots: Slots) -> None:
        """Empty slots that are in use; each must be named once."""
        self.keys[slots] = 0
        for array in self.payload:
            array[slots] = 0
        self.used -= len(slots)

    def wants_growth(self, more: int = 0) -> bool:
        """Tell whether `more` new keys would fill the table above `MAX_FILL`."""
        return self.used + more > MAX_FILL * len(self.keys)

    @property
    def crowded(self) -> bool:
        """Whether the table is so full that full buckets are normal; then growing makes room."""
        return self.used > CROWDED_FILL * len(self.keys)

    def grow(self) -> None:
        """Double the table. Each bucket splits in two by the next bit of its keys, without reading any other bucket."""
        moves = np.empty(len(self.keys), np.bool_)
        bits = self._buckets.bit_length() - 1
        for start in range(0, len(self.keys), _SPLIT_SLOTS):
            part = slice(start, min(start + _SPLIT_SLOTS, len(self.keys)))
            keys = self.keys[part]
            bucket = np.arange(part.start, part.stop, dtype=np.uint64) >> np.uint64(3)
            at_first_home = (keys & self._wide_mask) == bucket
            shift = np.where(at_first_home, np.uint64(bits), np.uint64(bits + _SECOND_HOME_SHIFT))
            moves[part] = (keys >> shift & np.uint64(1)).astype(np.bool_)
        self.keys = _split(self.keys, moves)
        for position in range(len(self.payload)):
            self.payload[position] = _split(self.payload[position], moves)
        self._set_views()

    def add_payload(self, kind: np.dtype[np.generic]) -> None:
        """Add one more payload array, of zeros."""
        self.payload.append(np.zeros(len(self.keys), kind))

    def check_integrity(self) -> None:
        """Check the invariants.

        Raises:
            AssertionError: one is broken; the message says which.
        """
        taken = np.flatnonzero(self.keys)
        if len(taken) != self.used:
            raise AssertionError(f"{self.used} keys are counted, {len(taken)} are stored")
        keys = self.keys[taken]
        if len(np.unique(keys)) != len(keys):
            raise AssertionError("a key is stored twice")
        if not (self._homes(keys) == taken >> 3).any(axis=0).all():
            raise AssertionError("a key is in neither of its buckets")
        if any(array[self.keys == 0].any() for array in self.payload):
            raise AssertionError("an empty slot has a payload")


def _split(array: NDArray[_Kind], moves: NDArray[np.bool_]) -> NDArray[_Kind]:
    size = len(array)
    doubled = np.zeros(2 * size, array.dtype)
    np.copyto(doubled[:size], array, where=~moves)
    np.copyto(doubled[size:], array, where=moves)
    return doubled
