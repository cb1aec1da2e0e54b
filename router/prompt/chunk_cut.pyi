# What chunk_cut.c has; its first lines say what comes back. The module is there where it has been compiled.

def cut(
    hash_address: int, pieces: list[bytes], seed: int, offset: int, tiers: list[tuple[int, int]], least: int, /
) -> tuple[list[int], list[int], int, bytes]: ...
