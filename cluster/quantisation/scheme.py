"""What every reader of a `quantization_config` returns."""

from typing import Protocol

from cluster.quantisation.module_names import Module
from cluster.quantisation.weight_format import WeightFormat


class WeightScheme(Protocol):
    """The format of each matrix of a quantised checkpoint."""

    def format_of(self, module: Module) -> WeightFormat | None:
        """Return the format of a matrix; None where it is left unquantised."""
