"""Where the data-parallel ranks of a gang meet."""

from typing import TYPE_CHECKING

from cluster.errors import EngineStartError
from deployments.engines.interface import GangPlace

if TYPE_CHECKING:
    from vllm.config import VllmConfig


def check_where_ranks_meet(place: GangPlace, config: "VllmConfig") -> None:
    """Check that data-parallel ranks can meet.

    Ranks that share experts meet at one address, where both this process and the first rank open ports.

    Raises:
        EngineStartError: the first rank is not on this node, so they would wait forever.
    """
    if config.parallel_config.data_parallel_size > 1 and config.model_config.is_moe and not place.begins_here:
        raise EngineStartError(
            "parallel.data: ranks that share experts meet on the node of the first, where this replica's own process "
            "must be too, and it is on another: start nodes with GPUs with CPUs for it, and name their kind as the "
            "model's accelerator"
        )
