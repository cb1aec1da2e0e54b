"""Runs for tests: made, not measured."""

from random import Random

from deployments.load.client.record import RequestRecord
from deployments.load.figures.run_file import RunFile


def record(
    at_s: float = 0.0, ttft_s: float = 0.1, tpot_s: float = 0.01, tokens: int = 11, **more: object
) -> RequestRecord:
    """Return a request."""
    first_s = at_s + ttft_s
    fields: dict[str, object] = {
        "session": 0,
        "due_s": at_s,
        "sent_s": at_s,
        "first_s": first_s,
        "output_tokens": tokens,
    }
    fields |= {"last_s": first_s + tpot_s * (tokens - 1), "prompt_tokens": 100, "cached_tokens": 50, **more}
    return RequestRecord(**fields)  # type: ignore[arg-type]


def run_of(*records: RequestRecord, seconds: float = 10.0, ttft_s: float | None = None) -> RunFile:
    """Return a run of these requests."""
    return RunFile(
        name="made",
        url="http://nowhere",
        model="m",
        began="2026-11-30T00:00:00+00:00",
        load=[],
        seed=0,
        seconds=seconds,
        is_whole=True,
        slo_ttft_s=ttft_s,
        slo_tpot_s=None,
        prompts={"is_measured": True},
        client={"cpu_share": 0.01, "lag_p50_s": 0.0, "lag_p99_s": 0.0, "lag_max_s": 0.0},
        requests=records,
    )


def drawn_run(ttft_s: float, seed: int, requests: int = 400, per_session: int = 1) -> RunFile:
    """Return a run whose times to the first token are exponential around a mean, one mean for each session."""
    rng = Random(seed)
    made = []
    for session in range(requests // per_session):
        own_s = ttft_s * rng.expovariate(1.0) if per_session > 1 else ttft_s
        made += [
            record(rng.uniform(0, 9.5), own_s if per_session > 1 else rng.expovariate(1.0 / own_s), session=session)
            for _ in range(per_session)
        ]
    return run_of(*made)
