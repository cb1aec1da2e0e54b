"""Whether KV cache beyond GPU memory pays in a layout: what it holds, and a token fetched against a token computed."""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.kv_tiers.machine_room import MachineRoom
from cluster.kv_tiers.offload_plan import OffloadPlan
from cluster.spec.model_parts.kv_cache_spec import GB


@dataclass(frozen=True, slots=True)
class TierTrade:
    """One tier of a replica.

    Attributes:
        name: `host memory` or `files`.
        size_bytes: its size.
        tokens: tokens that it holds, copies of what the tiers above it hold among them.
        token_s: seconds in which one of them is fetched.
    """

    name: str
    size_bytes: float
    tokens: float
    token_s: float


@dataclass(frozen=True, slots=True)
class TokenTrade:
    """What a replica's GPUs hold and compute, and its tiers below them, fastest first.

    Attributes:
        device_tokens: tokens that the GPUs hold.
        compute_s: seconds in which a token of a prompt is computed.
        tiers: the tiers.
    """

    device_tokens: float
    compute_s: float
    tiers: tuple[TierTrade, ...]

    @property
    def best(self) -> TierTrade | None:
        """The fastest tier that pays: it holds more than what is above it, and fetches faster than is computed."""
        return next((tier for tier, above in self._with_above() if self._pays(tier, above)), None)

    def _with_above(self) -> Iterator[tuple[TierTrade, float]]:
        """Yield each tier with the tokens that are above it, which it has copies of."""
        above = self.device_tokens
        for tier in self.tiers:
            yield tier, above
            above = max(above, tier.tokens)

    def _pays(self, tier: TierTrade, above: float) -> bool:
        return tier.tokens > above and tier.token_s < self.compute_s

    @property
    def why(self) -> str:
        """What each tier brings."""
        return "; ".join(self._of_tier(tier, above) for tier, above in self._with_above())

    def _of_tier(self, tier: TierTrade, above: float) -> str:
        verb = "hold" if tier.name == "files" else "holds"
        held = f"{tier.name} {verb} {_tokens(tier.tokens)}"
        if tier.tokens <= above:
            least = tier.size_bytes / GB * above / tier.tokens
            return f"{held}, no more than there is above: it would beyond {least:,.0f} GB"
        fetched = f"{held}, of which one is fetched in {_us(tier.token_s)} and computed in {_us(self.compute_s)}"
        if tier.token_s < self.compute_s:
            return f"{fetched}, {self.compute_s / tier.token_s:.1f} times as long"
        return f"{fetched}, which is sooner but takes the GPUs"


@dataclass(frozen=True, slots=True)
class OffloadTrade:
    """One layout with and without tiers below the GPUs.

    Attributes:
        offload: the tiers, of each replica.
        room: a machine full of its replicas.
        tokens: what GPUs and tiers hold, and how quickly it is there.
        is_used: the plan keeps blocks there.
        tokens_per_s: output tokens a second of each GPU within the SLO, with `offload.hit` of prompts found there;
            0: the SLO is not kept.
        plain_tokens_per_s: the same without.
    """

    offload: OffloadPlan
    room: MachineRoom
    tokens: TokenTrade
    is_used: bool
    tokens_per_s: float
    plain_tokens_per_s: float

    @property
    def why(self) -> str:
        """Why the plan keeps blocks beyond the GPUs, or does not."""
        verb = "keeps" if self.is_used else "does not keep"
        said = f"{verb} KV cache beyond the GPUs, which hold {_tokens(self.tokens.device_tokens)} tokens of a replica"
        said += f": {self.tokens.why}"
        if self.offload.hit and self.tokens.best:
            rates = "the SLO is not kept"
            if self.tokens_per_s:
                rates = f"{self.tokens_per_s:,.0f} tokens/s per GPU, {self.plain_tokens_per_s:,.0f} without"
            said += f"; with {self.offload.hit:.0%} of prompts from there {rates}"
        return said


def _tokens(count: float) -> str:
    return f"{count / 1e6:,.2f} M" if count >= 1e6 else f"{count / 1e3:,.0f} k"  # noqa: PLR2004 - units


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} µs"
