"""A vLLM platform of CPUs that uses Ray's logical GPUs: gangs over several machines without any GPU.

vLLM imports this module while it detects its platform, so nothing here may ask for the platform. Hence class names in
place of classes.
"""

from typing import TYPE_CHECKING

from vllm.platforms.cpu import CpuPlatform

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class LogicalGpuPlatform(CpuPlatform):
    """vLLM 0.32's CPU platform with support for Ray, which it lacks.

    Each rank takes one of a node's logical GPUs (`ray start --num-gpus`). Everything else is as with GPUs in vLLM: one
    GPU per bundle, `RayExecutorV2`, the same ranks.
    """

    ray_device_key = "GPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """Return the name of the communicator's class."""
        return "deployments.engines.vllm.cpu.rank.GlooCommunicator"

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Return the name of the class that applies LoRA adapters."""
        return "deployments.engines.vllm.cpu.lora.WholePromptPunica"

    @classmethod
    def discover_numa_topology(cls) -> list[list[int]]:
        """Return no cores, so that the NIXL connector leaves the engine's threads where they are.

        Nothing else in vLLM 0.32 asks. The connector would bind the thread that runs the model, and all threads that it
        starts afterwards, to the last core of each NUMA node, which all replicas of a machine would then share.
        """
        return []

    @classmethod
    def check_and_update_config(cls, vllm_config: "VllmConfig") -> None:
        """Choose the worker class, then check the config as the CPU platform does."""
        parallel = vllm_config.parallel_config
        if parallel.worker_cls == "auto" and parallel.pipeline_parallel_size > 1:
            parallel.worker_cls = "deployments.engines.vllm.cpu.rank.StageWorker"
        super().check_and_update_config(vllm_config)

    @classmethod
    def register_triton_kernel_overrides(cls) -> None:
        """Register the CPU's kernels, and make right what they do to sampled drafts and to experts dealt to ranks."""
        from vllm.utils import cpu_triton_utils  # noqa: PLC0415 - it asks for the platform
        from vllm.v1.sample import rejection_sampler  # noqa: PLC0415 - the same

        from deployments.engines.vllm.cpu.experts import compute_own_experts  # noqa: PLC0415 - the same
        from deployments.engines.vllm.cpu.sampling import constrained_logits, expand_to_tokens  # noqa: PLC0415 - the same

        compute_own_experts()
        cpu_triton_utils._expand_kernel_impl = expand_to_tokens  # noqa: SLF001 - where the platform takes it from
        rejection_sampler.apply_sampling_constraints = constrained_logits
        super().register_triton_kernel_overrides()
