"""The process through which vLLM's data-parallel ranks step together: it has time to start, and ends with the replica.

Imported once vLLM's environment is set, and by the coordinator's process.
"""

from multiprocessing.connection import Connection, wait
from typing import Any

from vllm import envs
from vllm.v1.engine import coordinator, utils
from vllm.v1.engine.coordinator import DPCoordinator, DPCoordinatorProc

from deployments.engines.vllm.processes.engine_process import end_with_parent


class WaitedForCoordinator(DPCoordinator):
    """Starts vLLM's coordinator, and waits for it as long as vLLM waits for its engines.

    vLLM 0.32 gives it 120 s, whatever one sets. Its process first imports PyTorch and vLLM, and the program that it
    was started from: 11 s of a core's time, which took over 120 s on two cores that several replicas started on.
    """

    def _wait_for_zmq_addrs(self, zmq_addr_pipe: Connection) -> tuple[str, str, str]:
        wait([zmq_addr_pipe, self.proc.sentinel], timeout=envs.VLLM_ENGINE_READY_TIMEOUT_S)
        addresses: tuple[str, str, str] = super()._wait_for_zmq_addrs(zmq_addr_pipe)
        return addresses


class GuardedCoordinatorProc(DPCoordinatorProc):
    """Runs in the coordinator's process, which ends with the replica; by itself it would outlive a killed one."""

    @staticmethod
    def run_coordinator(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        """Coordinate until the replica has ended."""
        end_with_parent()
        DPCoordinatorProc.run_coordinator(*args, **kwargs)


def guard_coordinators() -> None:
    """Have vLLM start its coordinators as the classes here; a second call changes nothing."""
    utils.DPCoordinator = WaitedForCoordinator
    coordinator.DPCoordinatorProc = GuardedCoordinatorProc
