"""What is known of each coefficient before anything is measured: where it lies, and how far engines differ.

Values and deviations are fitted as logarithms. A standard deviation says how far from its prior a value may go for
free:
0.2 is about 20 %, 0.7 a factor of two. A deviation of 0 means that all share the value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Term:
    """The prior of one coefficient.

    Attributes:
        value: its most likely value.
        wide: standard deviation of its logarithm.
        engine: that of an engine's deviation.
        generation: that of a GPU generation's deviation.
        version: that of an engine version's deviation.
    """

    value: float
    wide: float
    engine: float = 0.0
    generation: float = 0.0
    version: float = 0.0


_US: Final = 1e-6
_MS: Final = 1e-3

TERMS: Final[Mapping[str, Term]] = {
    "weight_memory": Term(0.75, 0.15, 0.1, 0.1),
    "expert_memory": Term(0.65, 0.3, 0.2, 0.15),
    "cache_memory": Term(0.5, 0.4, 0.3, 0.2),
    "bf16": Term(0.6, 0.2, 0.15, 0.15),
    "fp8": Term(0.5, 0.3, 0.2, 0.2),
    "fp4": Term(0.35, 0.4, 0.3),
    "unpacking": Term(0.6, 0.3, 0.2, 0.3),
    "grouped": Term(0.8, 0.2, 0.2, 0.1),
    "padding": Term(32, 0.7, 0.5, 0.2),
    "prompt_attention": Term(0.45, 0.4, 0.3, 0.2),
    "passes": Term(8, 0.5, 0.3),
    "step_s": Term(1 * _MS, 1.0, 0.7),
    "sequence_s": Term(5 * _US, 1.0, 1.0),
    "layer_s": Term(15 * _US, 0.5, 0.3, 0.15, 0.1),
    "expert_layer_s": Term(20 * _US, 0.5, 0.3, 0.15, 0.1),
    "linear_layer_s": Term(15 * _US, 0.5, 0.3),
    "latent_layer_s": Term(10 * _US, 0.5, 0.3),
    "indexer_layer_s": Term(20 * _US, 0.7, 0.3),
    "fp8_layer_s": Term(10 * _US, 0.7, 0.3),
    "fp4_layer_s": Term(8 * _US, 0.7, 0.3),
    "fp8_expert_layer_s": Term(10 * _US, 0.7, 0.3),
    "fp4_expert_layer_s": Term(8 * _US, 0.7, 0.3),
    "all_reduce_s": Term(8 * _US, 0.5, 0.5, 0.2),
    "link": Term(0.5, 0.4, 0.3, 0.2),
    "exchange_s": Term(30 * _US, 0.7, 0.5),
    "imbalance": Term(0.3, 0.6, 0.4),
    "evenness": Term(0.8, 0.2),
    "lockstep": Term(0.5, 0.7, 0.5),
    "prompt_step_s": Term(4 * _MS, 1.0, 1.0),
    "first_token_s": Term(20 * _MS, 1.0, 1.0, 0.0, 0.5),
    "burst": Term(0.05, 1.0, 0.7, 0.0, 0.3),
    "apart_burst": Term(0.1, 1.0, 0.7),
    "turnover": Term(0.003, 1.5, 0.7, 0.0, 1.0),
    "transfer_s": Term(20 * _MS, 1.0, 0.7),
    "decode_pace": Term(1.0, 0.01, 0.0, 0.0, 0.07),
    "prefill_pace": Term(1.0, 0.01, 0.0, 0.0, 0.07),
}
"""The prior of each coefficient of `cluster.step_time.coefficients`."""
