"""What a plan promised of each replica, for what replicas do to be compared with it."""

from typing import Annotated

from pydantic import Field

from cluster.spec.parts.part import Part, Seconds

Rate = Annotated[float, Field(gt=0)]


class PlannedSpec(Part):
    """What each replica is planned to do; `rackserve plan` writes it into the entry that it gives.

    It changes nothing in how replicas run. What they do is told as a share of it: `rackserve_plan_accuracy_ratio`, an
    alert below 0.8, and `rackserve status`. It is read when a replica starts. Where neither rate is given, both are
    foreseen if the kind of GPU (`accelerator`) and the model are known; so is `kv_tokens`. The rest is not compared.

    Attributes:
        prefill_tokens_per_s: prompt tokens that it computes a second, in full steps.
        decode_tokens_per_s: tokens a second that `sequences` answers get in steps without prompts.
        sequences: answers under way at once for which these rates hold; unset: any number.
        kv_tokens: tokens that its KV cache holds.
        start_s: seconds that its engine takes to start.
    """

    prefill_tokens_per_s: Rate | None = None
    decode_tokens_per_s: Rate | None = None
    sequences: Annotated[int, Field(ge=1)] | None = None
    kv_tokens: Annotated[int, Field(ge=1)] | None = None
    start_s: Seconds | None = None
