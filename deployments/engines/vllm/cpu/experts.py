"""Experts dealt to the ranks of a gang on CPUs: each rank computes its own, and adds nothing for the others'.

vLLM 0.32's CPU kernel takes an expert's number for its place in this rank's weights. Where a rank holds only some of
the experts, that reads past them, and the engine dies at the first request.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Apply = Callable[..., None]


def compute_own_experts() -> None:
    """Make vLLM's CPU experts heed which of them this rank holds; a second call changes nothing."""
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import (  # noqa: PLC0415 - it asks for the platform
        CPUUnquantizedExperts,
    )

    if not hasattr(CPUUnquantizedExperts.apply, "__wrapped__"):
        CPUUnquantizedExperts.apply = _of_own_experts(CPUUnquantizedExperts.apply)


def _of_own_experts(apply: Apply) -> Apply:
    """Return a kernel's `apply` that gets places in this rank's weights, and no weight for experts held elsewhere."""

    @wraps(apply)
    def own(self: object, output: "torch.Tensor", *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        expert_map = kwargs.get("expert_map")
        if expert_map is None:
            apply(self, output, *args, **kwargs)
            return
        ids, weights = kwargs["topk_ids"], kwargs["topk_weights"]
        places = expert_map[ids.long()]
        is_held = places >= 0
        kwargs["topk_ids"] = places.clamp(min=0).to(ids.dtype)
        kwargs["topk_weights"] = weights * is_held
        apply(self, output, *args, **kwargs)
        if kwargs.get("apply_router_weight_on_input"):  # then the kernel does not look at weights
            output[~is_held.any(dim=-1)] = 0

    return own
