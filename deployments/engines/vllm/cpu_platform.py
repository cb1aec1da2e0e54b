"""CPUs as vLLM's platform where Ray counts logical GPUs: gangs over several machines without any GPU.

vLLM imports this while it finds out what it runs on, so nothing here may ask for that; hence names in place of classes.
"""

from typing import TYPE_CHECKING

from vllm.platforms.cpu import CpuPlatform

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class LogicalGpuPlatform(CpuPlatform):
    """vLLM 0.32's CPU platform, which refuses Ray, with what it lacks.

    Each rank takes one of a node's logical GPUs (`ray start --num-gpus`). Everything else is vLLM's own path: one GPU a
    bundle, `RayExecutorV2`, the same ranks.
    """

    ray_device_key = "GPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """Return the class that ranks talk through."""
        return "deployments.engines.vllm.cpu_worker.GlooCommunicator"

    @classmethod
    def check_and_update_config(cls, vllm_config: "VllmConfig") -> None:
        """Choose the worker, then do as the CPU platform does."""
        parallel = vllm_config.parallel_config
        if parallel.worker_cls == "auto" and parallel.pipeline_parallel_size > 1:
            parallel.worker_cls = "deployments.engines.vllm.cpu_worker.StageWorker"
        super().check_and_update_config(vllm_config)
