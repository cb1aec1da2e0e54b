# What claim_ops.c has; claims.py says what comes back. The module is there where it has been compiled.

def use(
    sizes: dict[int, int], masks: dict[int, int], hashes: list[int], ends: list[int], bit: int, /
) -> tuple[int, int]: ...
def evict(
    sizes: dict[int, int], masks: dict[int, int], bit: int, excess_bytes: int, chunks: int, /
) -> tuple[int, int]: ...
