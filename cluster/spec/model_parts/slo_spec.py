"""The latencies that requests are to have, and how many of them: a service level objective."""

from typing import Annotated

from pydantic import Field

from cluster.spec.parts.part import Part, Seconds


class SloSpec(Part):
    """The latencies that a share of a model's or a tenant's requests is to have.

    They refuse nothing. A replica runs no more requests at once than keep `tpot_s`, replicas are added while too few
    requests are in time, requests are divided between replicas by them, and `rackserve status` says how many keep them.
    The headers `x-slo-ttft-ms` and `x-slo-tpot-ms` set them for one request.

    Attributes:
        ttft_s: time to the first token, seconds; unset: as soon as possible.
        tpot_s: mean time between two tokens of an answer, seconds; unset: none is kept, and where requests are divided
            between prefill and decode replicas, twice what a token takes that runs alone.
        share: share of the requests that is to have them.
    """

    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    share: Annotated[float, Field(gt=0, lt=1)] = 0.95

    @property
    def is_set(self) -> bool:
        """Whether it says anything of latencies."""
        return self.ttft_s is not None or self.tpot_s is not None
