"""The event that tells of blocks which a sequence has put into the prefix cache, as vLLM's does."""

from deployments.engines.extra_keys import prompt_extras
from deployments.engines.interface import BlockStored
from deployments.engines.sim.generation.prompt import boundary, token_ids
from deployments.engines.sim.generation.sequence import Sequence


def stored(sequence: Sequence, start: int, end: int, block_tokens: int) -> BlockStored:
    """Return the event of a sequence's blocks from number `start` to before `end`, of `block_tokens` tokens each."""
    per_token = sequence.prompt.units_per_token
    units = sequence.between(boundary(start * block_tokens, per_token), boundary(end * block_tokens, per_token))
    salt = "" if start else sequence.prompt.salt
    return BlockStored(
        block_hashes=tuple(sequence.hashes[start:end]),
        parent_block_hash=sequence.hashes[start - 1] if start else None,
        token_ids=token_ids(units, start * block_tokens, sequence.prompt),
        block_size=block_tokens,
        extra_keys=tuple(prompt_extras(end - start, block_tokens, sequence.prompt.adapter, salt, ())),
    )
