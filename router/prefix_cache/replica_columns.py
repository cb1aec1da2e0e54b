"""Which bit of a prefix index's masks stands for which replica."""

WORD = 64
"""Bits in one mask word, one for each replica."""


class ReplicaColumns:
    """Gives each replica a column, and gives it to another only after its bits are wiped.

    A column is free, live (it has a replica) or retired (its replica is gone, its bits may still be in the table). A
    sweep makes retired columns free: `begin_sweep` fixes which ones it wipes, `end_sweep` frees those.

    Attributes:
        by_id: replica id → column, live columns only.
        claims: chunks the replica holds, by column; 0 unless the column is live.
        live: the live columns, as one mask for each word.
        retired: columns whose bits may still be set.
        sweeping: the columns that the current sweep wipes, as one mask for each word.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, int] = {}
        self.claims: list[int] = []
        self.live: list[int] = [0]
        self.sweeping: list[int] = [0]
        self.retired: set[int] = set()
        self._free: list[int] = []

    @property
    def width(self) -> int:
        """Number of columns, in any state."""
        return len(self.claims)

    @property
    def known(self) -> list[int]:
        """The columns whose bits may be set (live and retired), as one mask for each word."""
        masks = list(self.live)
        for column in self.retired:
            masks[column // WORD] |= 1 << column % WORD
        return masks

    @property
    def live_bits(self) -> int:
        """The live columns as one mask over all words."""
        bits = 0
        for position, mask in enumerate(self.live):
            bits |= mask << position * WORD
        return bits

    def has_free(self) -> bool:
        """Tell whether a replica can be added without one more mask word."""
        return bool(self._free) or self.width < WORD * len(self.live)

    def take(self, replica_id: str) -> int:
        """Give a column to a replica that has none; return the column."""
        if self._free:
            column = self._free.pop()
        else:
            column = self.width
            self.claims.append(0)
            if column == WORD * len(self.live):
                self.live.append(0)
                self.sweeping.append(0)
        self.by_id[replica_id] = column
        self.live[column // WORD] |= 1 << column % WORD
        return column

    def retire(self, replica_id: str) -> None:
        """Take a replica's column back; do nothing where it has none."""
        column = self.by_id.pop(replica_id, None)
        if column is None:
            return
        self.live[column // WORD] &= ~(1 << column % WORD)
        if self.claims[column]:
            self.claims[column] = 0
            self.retired.add(column)
        else:
            self._free.append(column)

    def uncount(self, mask: int, base: int) -> None:
        """Count one claim less for each live column in `mask`, whose lowest bit is column `base`."""
        while mask:
            low = mask & -mask
            self.claims[base + low.bit_length() - 1] -= 1
            mask ^= low

    def begin_sweep(self) -> None:
        """Fix which columns the sweep wipes: those that are retired now."""
        self.sweeping = [0] * len(self.live)
        for column in self.retired:
            self.sweeping[column // WORD] |= 1 << column % WORD

    def end_sweep(self) -> None:
        """Free the columns that the sweep wiped."""
        wiped = [column for column in self.retired if self.sweeping[column // WORD] >> column % WORD & 1]
        self.retired.difference_update(wiped)
        self._free.extend(sorted(wiped, reverse=True))
        self.sweeping = [0] * len(self.live)

    def check_integrity(self) -> None:
        """Check the invariants.

        Raises:
            AssertionError: one is broken; the message says which.
        """
        states = sorted([*self.by_id.values(), *self.retired, *self._free])
        if states != list(range(self.width)):
            raise AssertionError("a column is in two states or in none")
        live = [0] * len(self.live)
        for column in self.by_id.values():
            live[column // WORD] |= 1 << column % WORD
        if live != self.live:
            raise AssertionError("the live masks are not those of the replicas")
        if any(self.claims[column] for column in (*self.retired, *self._free)):
            raise AssertionError("a column without a replica has claims")
