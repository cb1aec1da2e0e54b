"""What a replica says of its own load."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a replica says of itself, as of `sequence`.

    Attributes:
        sequence: grows by one with each report of one replica life; a gap means reports were lost.
        running: requests in the engine's batch.
        waiting: requests in the engine's queue.
        waiting_tokens: prompt tokens not yet prefilled, of waiting and running requests.
        kv_usage: share of the KV cache in use, 0 to 1.
        kv_capacity_tokens: tokens the KV cache holds.
        prefill_tokens_per_s: prompt tokens computed a second, over the last busy seconds; 0: not known yet.
        decode_tokens_per_s: tokens generated a second, likewise.
        accepted: requests this replica has accepted from the gateway that is told, over the replica's life.
        step_tokens: the most tokens the engine computes in one step; 0: not known.
        gateways: gateways that have requests there; 0: not known.
    """

    sequence: int
    running: int
    waiting: int
    waiting_tokens: int
    kv_usage: float
    kv_capacity_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    accepted: int = 0
    step_tokens: int = 0
    gateways: int = 0
