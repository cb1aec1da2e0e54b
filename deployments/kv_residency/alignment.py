"""Finds where in a prompt's tokens its canonical bytes are, by searching the tokens' text.

Half of the bytes are not half of the tokens: code and Chinese take more tokens per byte than prose, and the engine's
template adds special tokens, a default system prompt and instructions about tools. Measured with SmolLM2 on chats of
mixed content, assuming equal shares is wrong by up to 14 blocks. So each message's text is searched for in the tokens'
text. Text that is not found (such as tools, which the template formats in its own way) is placed in proportion between
its neighbours that are.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_SEGMENT_BYTES = 16
"""Length below which a text is not searched for: short texts match in wrong places."""
MAX_MISSES = 8
"""Texts not found after which the search ends, so that no prompt can make it slow."""
_SEGMENT = re.compile(rb"[^\xfd\xfe\xff]{%d,}" % MIN_SEGMENT_BYTES)


def token_ends(canonical: bytes, ends: Sequence[int], texts: Sequence[bytes]) -> NDArray[np.int64]:
    """Return how many tokens cover the canonical bytes up to each of `ends`; shape (len(ends),).

    Args:
        canonical: canonical bytes of a prompt (`router.prompt.canonical`), or of its last part.
        ends: ascending offsets in `canonical`, in bytes.
        texts: the text of each token of the same part of the prompt.
    """
    rendered = b"".join(texts)
    token_stops = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    there, here = _anchors(canonical, rendered)
    offsets = np.interp(np.asarray(ends, np.float64), there, here)
    covered = np.searchsorted(token_stops, np.rint(offsets).astype(np.int64), side="left") + 1
    return np.minimum(covered, len(texts))


def token_ends_in_proportion(canonical_bytes: int, ends: Sequence[int], tokens: int) -> NDArray[np.int64]:
    """Return `token_ends` for tokens of unknown text, as if all were equally long in bytes; shape (len(ends),)."""
    offsets = np.asarray(ends, np.float64) * (tokens / max(1, canonical_bytes))
    return np.minimum(np.ceil(offsets).astype(np.int64), tokens)


def _anchors(canonical: bytes, rendered: bytes) -> tuple[list[int], list[int]]:
    """Return pairs of equal positions: offsets in `canonical` and offsets in `rendered`. Both ascend."""
    there, here = [0], [0]
    cursor = misses = 0
    for segment in _SEGMENT.finditer(canonical):
        text, start = segment.group(), segment.start()
        found = rendered.find(text, cursor)
        if found < 0:
            text = text.strip()  # many templates do that
            start = canonical.index(text, start) if text else start
            found = rendered.find(text, cursor) if len(text) >= MIN_SEGMENT_BYTES else -1
        if found < 0:
            misses += 1
            if misses == MAX_MISSES:
                break
            continue
        cursor = found + len(text)
        there += [start, start + len(text)]
        here += [found, cursor]
    there.append(max(len(canonical), there[-1]))
    here.append(len(rendered))
    return there, here
