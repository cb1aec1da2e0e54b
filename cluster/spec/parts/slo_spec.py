"""The latencies that a model's requests are to have."""

from cluster.spec.parts.part import Part, Seconds


class SloSpec(Part):
    """Latencies that the gateway aims at where it divides requests between prefill and decode replicas.

    They refuse nothing. The headers `x-slo-ttft-ms` and `x-slo-tpot-ms` set them for one request.

    Attributes:
        ttft_s: time to the first token, seconds; unset: as soon as possible.
        tpot_s: mean time between two tokens of an answer, seconds; unset: twice what a token takes that runs alone.
    """

    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
