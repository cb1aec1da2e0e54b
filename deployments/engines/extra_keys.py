"""What a KV block stands for beside its tokens, in the words of `BlockStored.extra_keys`: adapter, media and salt."""

from collections.abc import Sequence

import msgspec


def extra_of(keys: Sequence[object] | None) -> str:
    """Return one block's extra keys, as vLLM's events list them, as one word; "" where there are none."""
    return msgspec.json.encode(keys).decode() if keys else ""


def prompt_extras(
    blocks: int, block_tokens: int, adapter: str, cache_salt: str, media: Sequence[tuple[str, int, int]]
) -> list[str]:
    """Return the word for each block of a prompt, before any event tells it; empty where no block has any.

    The order within a block is vLLM's (`generate_block_hash_extra_keys` of vllm/v1/core/kv_cache_utils.py): adapter,
    media with their offset from the block's start, and in the first block the salt.

    Args:
        blocks: full blocks of the prompt.
        block_tokens: tokens a block.
        adapter: the LoRA adapter's name, or "".
        cache_salt: the request's, or "".
        media: identifier, first token and number of tokens of each media item, in order.
    """
    if not (adapter or cache_salt or media):
        return []
    extras = []
    for start in range(0, blocks * block_tokens, block_tokens):
        keys: list[object] = [adapter] if adapter else []
        for identifier, first, count in media:
            if first < start + block_tokens and first + count > start:
                keys.append([identifier, first - start])
        if cache_salt and not start:
            keys.append(cache_salt)
        extras.append(extra_of(keys))
    return extras
