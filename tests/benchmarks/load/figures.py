"""What two load generators are compared by."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load generator measured.

    Attributes:
        requests: requests answered.
        ttft_s: mean seconds to the first token.
        tpot_s: mean seconds of a token after the first, over requests.
        latency_s: mean seconds to the last token.
        requests_per_s: answers a second.
        output_tokens_per_s: tokens of answers a second.
    """

    requests: int
    ttft_s: float
    tpot_s: float
    latency_s: float
    requests_per_s: float
    output_tokens_per_s: float

    def over(self, other: "Figures") -> dict[str, float]:
        """Return each figure but the count over that of another."""
        names = [field.name for field in fields(self) if field.name != "requests"]
        return {name: getattr(self, name) / getattr(other, name) for name in names}
