"""A load report: what a replica says of its own load."""

from dataclasses import dataclass

from router.replicas.media_report import NO_MEDIA, MediaReport
from router.replicas.speculation_report import SpeculationReport
from router.replicas.step_report import StepReport
from router.replicas.tier_report import TierReport


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A replica's load at one moment, as it says itself.

    Attributes:
        sequence: number of this report since the replica started; a gap means that reports were lost.
        running: requests in the engine's batch.
        waiting: requests in the engine's queue.
        waiting_tokens: prompt tokens not yet prefilled, of waiting and running requests.
        kv_usage: share of the KV cache in use, 0 to 1.
        kv_capacity_tokens: capacity of the KV cache in tokens.
        prefill_tokens_per_s: prompt tokens computed per second, over the last busy seconds; 0: not known yet.
        decode_tokens_per_s: tokens generated per second, over the last busy seconds; 0: not known yet.
        accepted: requests accepted since the replica started, from the gateway that gets this report.
        step_tokens: most tokens that the engine computes in one step; 0: not known.
        gateways: number of gateways that have requests there; 0: not known.
        speculation: what speculative decoding brings there; None: nothing is drafted.
        media: images, audio and video that it fetched and refused.
        tiers: what it keeps of its KV cache beyond its device; None: nothing.
        steps: how full and how fast its steps are; None: not known.
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
    speculation: SpeculationReport | None = None
    media: MediaReport = NO_MEDIA
    tiers: TierReport | None = None
    steps: StepReport | None = None
