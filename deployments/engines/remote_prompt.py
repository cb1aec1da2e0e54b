"""Reads a request's `kv_transfer_params`: vLLM's words for a prompt that another engine computes, or has computed.

{"do_remote_decode": true, "do_remote_prefill": false}      compute the prompt, keep its blocks, tell where they are
{"do_remote_prefill": true, "remote_engine_id": …, …}       fetch a prompt: what the engine that computed it has told
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

_MAX_PORT: Final = 65_535
_SIZES: Final = ("tp_size", "dcp_size", "pp_size")


@dataclass(frozen=True, slots=True)
class RemotePrompt:
    """A prompt that another engine has computed and keeps.

    Attributes:
        engine_id: the engine's id; after a restart it has another.
        request_id: its id of the request that computed the prompt.
        host: the address of its side channel.
        port: the port of its side channel.
        tokens: tokens of the prompt that it has computed; None: it does not say.
        cached_tokens: prompt tokens that it had found in its cache; None: it does not say.
    """

    engine_id: str
    request_id: str
    host: str
    port: int
    tokens: int | None = None
    cached_tokens: int | None = None

    def is_of(self, prompt_tokens: int, block_tokens: int) -> bool:
        """Return whether this may be a prompt of `prompt_tokens`: vLLM leaves out a few at the end for some models."""
        return self.tokens is None or prompt_tokens - block_tokens <= self.tokens <= prompt_tokens


def is_to_be_kept(params: Mapping[str, Any]) -> bool:
    """Return whether the request's prompt is to be kept for another engine."""
    return params.get("do_remote_decode") is True


def is_to_be_fetched(params: Mapping[str, Any]) -> bool:
    """Return whether the request says that its prompt is to be fetched, rightly or not."""
    return bool(params.get("do_remote_prefill"))


def remote_prompt(params: Mapping[str, Any]) -> RemotePrompt | None:
    """Return which prompt a request wants fetched; None: none, or what it says is incomplete or wrong."""
    engine_id, request_id = params.get("remote_engine_id"), params.get("remote_request_id")
    host, port = params.get("remote_host"), params.get("remote_port")
    if not is_to_be_fetched(params) or not _are_blocks(params.get("remote_block_ids")):
        return None
    if not (_is_word(engine_id) and _is_word(request_id) and _is_word(host)):
        return None
    if not _is_count(port) or not 0 < port <= _MAX_PORT:
        return None
    if any(not _is_count(params[size]) or not params[size] for size in _SIZES if params.get(size) is not None):
        return None
    tokens, cached = params.get("remote_num_tokens"), params.get("remote_prefill_cached_tokens")
    return RemotePrompt(
        engine_id, request_id, host, port, tokens if _is_count(tokens) else None, cached if _is_count(cached) else None
    )


def checked_params(params: Mapping[str, Any], prompt_tokens: int | None, block_tokens: int) -> Mapping[str, Any] | None:
    """Return the part of a request's `kv_transfer_params` that an engine can act on; None: nothing.

    Args:
        params: what the request says.
        prompt_tokens: tokens of its prompt; None: not known.
        block_tokens: tokens of a KV block.
    """
    if is_to_be_kept(params):
        return {"do_remote_decode": True, "do_remote_prefill": False}
    prompt = remote_prompt(params)
    if prompt is None or (prompt_tokens is not None and not prompt.is_of(prompt_tokens, block_tokens)):
        return None
    return params


def _are_blocks(value: object) -> bool:
    """Return whether this is a list of block ids for each group of layers, and some group has blocks."""
    if not isinstance(value, list | tuple) or not all(isinstance(group, list | tuple) for group in value):
        return False
    return any(value) and all(_is_count(block) for group in value for block in group)


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
