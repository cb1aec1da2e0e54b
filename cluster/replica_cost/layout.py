"""How one replica is divided over the GPUs of its gang, and why a layout is impossible."""

from dataclasses import dataclass

from cluster.model_shapes.model_shape import ModelShape
from cluster.replica_cost.hardware import Accelerator


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a gang's groups, in vLLM's terms.

    Attributes:
        tensor: GPUs that share each layer's matrices.
        pipeline: stages that the layers are divided into.
        data: ranks that compute attention for different sequences but share the experts; 1 for models without experts,
            which are scaled by replicas instead.
        experts_whole: whether each GPU holds whole experts (expert parallelism over `tensor * data` GPUs); otherwise
            every expert is split over the `tensor` GPUs.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    experts_whole: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline * self.data

    @property
    def stage_gpus(self) -> int:
        """GPUs of one stage, which hold the same layers."""
        return self.tensor * self.data

    @property
    def expert(self) -> int:
        """GPUs over which a layer's whole experts are distributed; 1 where experts are split or there are none."""
        return self.stage_gpus if self.experts_whole else 1

    @property
    def one_domain_gpus(self) -> int:
        """GPUs that must be in one NVLink domain: a tensor group, or a stage that shares whole experts."""
        return self.stage_gpus if self.experts_whole else self.tensor

    def __str__(self) -> str:
        return f"TP {self.tensor} × PP {self.pipeline} × EP {self.expert} × DP {self.data}"  # noqa: RUF001 - the field's own sign

    def why_not(self, shape: ModelShape, hardware: Accelerator) -> str:
        """Return why `shape` cannot have this layout on `hardware`; "" if it can."""
        reason = shape.why_not_tensor(self.tensor, experts_are_cut=not self.experts_whole) or self._why_no_experts(
            shape
        )
        if reason:
            return reason
        if self.pipeline > shape.layers:
            return f"{shape.layers} layers cannot make {self.pipeline} stages"
        if self.one_domain_gpus > hardware.gpus_per_domain:
            group = "expert group" if self.experts_whole and self.data > 1 else "tensor group"
            return f"the {group} of {self.one_domain_gpus} GPUs does not fit a domain of {hardware.gpus_per_domain}"
        return ""

    def _why_no_experts(self, shape: ModelShape) -> str:
        if self.data > 1 and not self.experts_whole:
            return "data-parallel ranks in one replica only help to share whole experts"
        if self.experts_whole and shape.experts is None:
            return "the model has no experts"
        if shape.experts and self.expert > shape.experts.routed:
            return f"{shape.experts.routed} experts cannot be dealt to {self.expert} GPUs"
        return ""
