"""The figures of a run, made of its records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from deployments.load.client.record import RequestRecord

_QUANTILES: Final = (0.5, 0.9, 0.99)
_REASON: Final = 120


@dataclass(frozen=True, slots=True)
class SloLimits:
    """Limits within which an answer counts as good; None: there is no such limit.

    Attributes:
        ttft_s: seconds to the first token.
        tpot_s: seconds of each token after it.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None

    def is_met(self, record: RequestRecord) -> bool:
        """Return whether a request was answered within them."""
        return record.is_within(self.ttft_s, self.tpot_s)


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread: their mean, three quantiles, the largest, and how many there are."""

    mean: float
    p50: float
    p90: float
    p99: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Return the spread of values; None: there are none."""
        if not len(values):
            return None
        found = np.asarray(values, np.float64)
        p50, p90, p99 = (float(value) for value in np.quantile(found, _QUANTILES))
        return cls(float(found.mean()), p50, p90, p99, float(found.max()), len(found))


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What a run came to. Requests of the warm-up are left out.

    Attributes:
        requests: requests sent.
        answered: of those, how many have a whole answer.
        problems: how many failed, by reason.
        sessions: sessions that they belong to.
        seconds: length of the run.
        requests_per_s: whole answers a second.
        output_tokens_per_s: tokens of whole answers a second.
        total_tokens_per_s: the same with the tokens of their prompts; None: the endpoint does not say those.
        goodput_per_s: whole answers a second within the SLO.
        within_slo: share of all requests that were answered within the SLO.
        ttft_s: seconds to the first token.
        tpot_s: mean seconds of a token after the first, of each request.
        gap_s: seconds between two events with tokens, of all answers together.
        latency_s: seconds to the last token.
        late_s: seconds by which requests were sent later than they were to be.
        prompt_tokens: tokens of the prompts of whole answers.
        cached_share: share of those that the engine had cached; None: the endpoint does not say.
        output_tokens: tokens of whole answers.
        counted: whole answers by how their tokens were counted.
    """

    requests: int
    answered: int
    problems: Mapping[str, int]
    sessions: int
    seconds: float
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float | None
    goodput_per_s: float
    within_slo: float
    ttft_s: Spread | None
    tpot_s: Spread | None
    gap_s: Spread | None
    latency_s: Spread | None
    late_s: Spread | None
    prompt_tokens: int | None
    cached_share: float | None
    output_tokens: int
    counted: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return them as plain JSON values."""
        return asdict(self)


def figures_of(records: Sequence[RequestRecord], gap_s: Spread | None, seconds: float, slo: SloLimits) -> LoadFigures:
    """Return the figures of a run.

    Args:
        records: of each request, those of the warm-up included.
        gap_s: seconds between two events with tokens, of all answers together.
        seconds: length of the run.
        slo: what counts as good.
    """
    measured = [record for record in records if not record.is_warm_up]
    whole = [record for record in measured if record.is_answered]
    good = sum(slo.is_met(record) for record in measured)
    span_s = max(seconds, 1e-9)
    output_tokens = sum(record.output_tokens for record in whole)
    prompts = [record.prompt_tokens for record in whole if record.prompt_tokens is not None]
    prompt_tokens = sum(prompts) if whole and len(prompts) == len(whole) else None
    return LoadFigures(
        requests=len(measured),
        answered=len(whole),
        problems=dict(Counter(record.problem[:_REASON] for record in measured if not record.is_answered)),
        sessions=len({record.session for record in measured}),
        seconds=seconds,
        requests_per_s=len(whole) / span_s,
        output_tokens_per_s=output_tokens / span_s,
        total_tokens_per_s=None if prompt_tokens is None else (prompt_tokens + output_tokens) / span_s,
        goodput_per_s=good / span_s,
        within_slo=good / len(measured) if measured else 0.0,
        ttft_s=Spread.of([record.ttft_s for record in whole]),
        tpot_s=Spread.of([record.tpot_s for record in whole if record.tpot_s is not None]),
        gap_s=gap_s,
        latency_s=Spread.of([record.latency_s for record in whole]),
        late_s=Spread.of([max(0.0, record.sent_s - record.due_s) for record in measured]),
        prompt_tokens=prompt_tokens,
        cached_share=cached_share(whole),
        output_tokens=output_tokens,
        counted=dict(Counter(str(record.counted) for record in whole)),
    )


def cached_share(records: Sequence[RequestRecord]) -> float | None:
    """Return the share of prompt tokens that the engine had cached, of requests that say so; None: none does."""
    told = [
        (record.cached_tokens, record.prompt_tokens)
        for record in records
        if record.cached_tokens is not None and record.prompt_tokens
    ]
    return sum(cached for cached, _ in told) / sum(prompt for _, prompt in told) if told else None
