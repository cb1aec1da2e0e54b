"""Makes inputs from good ones, as libFuzzer does, but the same for the same seed; atheris does better where it is."""

from collections.abc import Iterator
from random import Random
from typing import Final

from tests.fuzz.target import Target

LONGEST: Final = 4096
"""Bytes of the longest input: what is wrong with long ones is wrong with shorter ones, and those are faster."""


def inputs(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` inputs: first the seeds, then mutations of them and of each other."""
    rng = Random(seed)
    pool = list(target.seeds)
    yield from pool[:count]
    for _ in range(count - len(pool)):
        data = rng.choice(pool)
        for _ in range(1 + min(7, int(rng.expovariate(0.7)))):
            data = _mutated(data, rng, target.words, pool)
        yield data
        if rng.random() < 0.02:  # some go on, so that mutations add up
            pool[rng.randrange(len(target.seeds), len(pool) + 1) :] = [data]


def _mutated(data: bytes, rng: Random, words: tuple[bytes, ...], pool: list[bytes]) -> bytes:
    begin, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    match rng.randrange(8):
        case 0:  # another byte
            new = data[:begin] + bytes([rng.randrange(256)]) + data[begin + 1 :]
        case 1:  # a flipped bit
            new = (
                data[:begin] + bytes([data[begin] ^ 1 << rng.randrange(8)]) + data[begin + 1 :]
                if data[begin:]
                else data
            )
        case 2:  # a word
            new = data[:begin] + rng.choice(words) + data[begin:]
        case 3:  # a word in a word's place
            new = data[:begin] + rng.choice(words) + data[begin + rng.randrange(12) :]
        case 4:  # less
            new = data[:begin] + data[min(end, begin + rng.randrange(1, 64)) :]
        case 5:  # twice
            new = data[:end] + data[begin:end][:256] + data[end:]
        case 6:  # the end of another
            other = rng.choice(pool)
            new = data[:begin] + other[rng.randrange(len(other) + 1) :]
        case _:  # cut off
            new = data[:end]
    return new[:LONGEST]
