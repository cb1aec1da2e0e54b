"""What a replica serves: what its model is for, and what the weights of it take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaModel:
    """A model as a replica serves it.

    Attributes:
        task: what it is served for: `generate`, `embed`, `classify` or `score`; "": its checkpoint decides.
        weight_format: number format of most of its weights, as plans name it: `bf16`, `fp8`, `int4`, …; "": not known.
        weight_bytes: bytes of its weights, each counted once, as their format gives them; 0: not known.
    """

    task: str = ""
    weight_format: str = ""
    weight_bytes: float = 0.0
