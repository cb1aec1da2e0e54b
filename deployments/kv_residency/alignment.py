"""Where in a prompt's tokens its canonical bytes are: found by reading the tokens' text.

A share of the bytes is not the same share of the tokens: code and Chinese take more tokens a byte than prose, and the
engine's template adds special tokens, a default system prompt, instructions about tools (measured with SmolLM2 on chats
of mixed content: off by up to 14 blocks). So each message's text is looked for in the text of the tokens; what is not
found, such as tools that the template words in its own way, lies in proportion between what is.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_SEGMENT_BYTES = 16
"""Shorter texts are not looked for: they are found where they don't belong."""
MAX_MISSES = 8
"""After so many texts that are not there no more are looked for, so that no prompt can make this slow."""
_SEGMENT = re.compile(rb"[^\xfd\xfe\xff]{%d,}" % MIN_SEGMENT_BYTES)


def token_ends(canonical: bytes, ends: Sequence[int], texts: Sequence[bytes]) -> NDArray[np.int64]:
    """Return how many tokens it takes to cover the canonical bytes up to each of `ends`; shape (len(ends),).

    Args:
        canonical: canonical bytes of a prompt (`router.prompt.canonical`), or of the end of one.
        ends: growing offsets in them.
        texts: each token's text, of the same stretch of the prompt.
    """
    rendered = b"".join(texts)
    token_stops = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    there, here = _anchors(canonical, rendered)
    offsets = np.interp(np.asarray(ends, np.float64), there, here)
    covered = np.searchsorted(token_stops, np.rint(offsets).astype(np.int64), side="left") + 1
    return np.minimum(covered, len(texts))


def token_ends_in_proportion(canonical_bytes: int, ends: Sequence[int], tokens: int) -> NDArray[np.int64]:
    """Return the same for tokens whose text is not known, as if each stood for as many bytes; shape (len(ends),)."""
    offsets = np.asarray(ends, np.float64) * (tokens / max(1, canonical_bytes))
    return np.minimum(np.ceil(offsets).astype(np.int64), tokens)


def _anchors(canonical: bytes, rendered: bytes) -> tuple[list[int], list[int]]:
    """Return offsets that correspond: in the canonical bytes, and in the tokens' text. Both grow."""
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
