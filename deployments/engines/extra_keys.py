"""What distinguishes a KV block besides its tokens (adapter, media, salt), encoded as in `BlockStored.extra_keys`."""

from collections.abc import Sequence

import msgspec


def extra_of(keys: Sequence[object] | None) -> str:
    """Return one block's extra keys, a list in vLLM's events, as one string; "": there are none."""
    return msgspec.json.encode(keys).decode() if keys else ""


def prompt_extras(
    blocks: int, block_tokens: int, adapter: str, cache_salt: str, media: Sequence[tuple[str, int, int]]
) -> list[str]:
    """Return the extra keys of each block of a prompt, as `extra_of` encodes them; empty: no block has any.

    They are those that vLLM's events will give. The order within a block is vLLM's (`generate_block_hash_extra_keys` of
    vllm/v1/core/kv_cache_utils.py): adapter, media with their offset from the block's start, and in the first block the
    salt.

    Args:
        blocks: number of full blocks of the prompt.
        block_tokens: tokens per block.
        adapter: the LoRA adapter's name; "": none.
        cache_salt: the request's cache salt; "": none.
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
