"""Which layers attend to all tokens, which to a window of the last ones, and which keep a state instead."""

from typing import Final

from cluster.checkpoint.attention_config import GATED_DELTA
from cluster.checkpoint.config_keys import ConfigKeys

LINEAR: Final = 0
"""Marks a layer with linear attention, which looks at no earlier tokens."""

_SLIDING: Final = "sliding_attention"
_CHUNKED: Final = "chunked_attention"
_SWITCHED: Final = frozenset({"qwen2", "qwen3", "qwen3_moe"})
"""Families whose windows count only where `use_sliding_window` is set."""

_LINEAR: Final = "linear_attention"
_FULL: Final = "full_attention"


def windows(keys: ConfigKeys, family: str, layers: int) -> tuple[int | None, ...]:
    """Return each layer's window in tokens; None: it attends to all, `LINEAR`: to none.

    A window of chunks (Llama 4) counts as a window of a chunk's length: the most that a token attends to.

    Raises:
        ModelShapeError: a key is wrong.
    """
    window = keys.number("attention_chunk_size" if family == "llama4_text" else "sliding_window", 0)
    kinds = keys.items("layer_types")
    if kinds is None:
        kinds = _default_kinds(keys, family, layers)
    if family not in GATED_DELTA:
        if not window or (family in _SWITCHED and not keys.flag("use_sliding_window")):
            return (None,) * layers
        if kinds is None:
            return (window,) * layers
    if kinds is not None and len(kinds) != layers:
        raise keys.refuse(f"layer_types must name each of the {layers} layers")
    return tuple(
        LINEAR if kind == _LINEAR else (window or None) if kind in {_SLIDING, _CHUNKED} else None
        for kind in kinds or ()
    )


def _default_kinds(keys: ConfigKeys, family: str, layers: int) -> list[str] | None:
    """Return the kinds of layers of a file that does not name them, as transformers' classes do; None: one kind."""
    if family == "llama4_text" and (roped := keys.items("no_rope_layers")):
        if len(roped) != layers:
            raise keys.refuse(f"no_rope_layers must name each of the {layers} layers")
        return [_CHUNKED if each else _FULL for each in roped]
    if family in _SWITCHED:
        first = keys.number("max_window_layers", 0)
        return [_SLIDING if layer >= first else _FULL for layer in range(layers)]
    if family not in _EVERY:
        return None
    kind, key = _EVERY[family]
    every = keys.count(key, default=2)
    return [kind if (layer + 1) % every else _FULL for layer in range(layers)]


_EVERY: Final = {
    "gpt_oss": (_SLIDING, "sliding_window_pattern"),
    "gemma3_text": (_SLIDING, "sliding_window_pattern"),
    "llama4_text": (_CHUNKED, "no_rope_layer_interval"),
    **dict.fromkeys(GATED_DELTA, (_LINEAR, "full_attention_interval")),
}
"""Families whose every n-th layer attends to all tokens: the kind of the others, and the key of n (gpt-oss: 2)."""
