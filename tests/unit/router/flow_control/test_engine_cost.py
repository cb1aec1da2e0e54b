"""What a request costs an engine."""

import pytest

from router.flow_control.engine_cost import OUTPUT_WEIGHT, EngineCost
from router.flow_control.fair_queue import FairQueue
from router.flow_control.queued_request import QueuedRequest
from router.replicas.load_report import LoadReport
from router.replicas.step_report import StepReport

STEPS = StepReport(
    decode_tokens_per_s=900.0, sequences=20.0, prompt_tokens=500.0, answer_tokens_per_s=1000.0, added_tokens_per_s=5e4
)


def report(steps: StepReport | None, kv_capacity_tokens: int = 100_000) -> LoadReport:
    """Return a replica's report."""
    return LoadReport(1, 20, 0, 0, 0.5, kv_capacity_tokens, 8_000.0, 900.0, steps=steps)


def asked(number: int, uncached: float, output: float) -> QueuedRequest:
    """Return a request whose prompt is not cached."""
    request = QueuedRequest("ann", uncached + OUTPUT_WEIGHT * output)
    request.number, request.uncached_tokens, request.prompt_tokens, request.output_tokens = (
        number,
        uncached,
        uncached,
        output,
    )
    return request


def test_time_and_memory_add_up() -> None:
    """1 000 computed tokens of 20 µs, 50 of 1 ms after the first, and a tenth of the KV cache for 2 s: 0.27 s."""
    prices = EngineCost()
    prices.reported(report(STEPS), 1 / 8_000)
    assert prices.of(1_000, 9_974.5, 51, 2.0) == pytest.approx(0.02 + 0.05 + 0.2)


def test_the_first_token_comes_with_the_prompt() -> None:
    """An answer of one token costs no step of its own."""
    prices = EngineCost()
    prices.reported(report(STEPS, 0), 0.0)
    assert prices.of(1_000, 1_000, 1, 1.0) == prices.of(1_000, 1_000, 0, 1.0) == pytest.approx(0.02)


def test_what_no_replica_tells_is_assumed() -> None:
    """Without reports, or with rates alone, a token of the answer costs four of the prompt, and memory nothing."""
    prices = EngineCost()
    assert prices.of(0, 9_999, 2, 100.0) == pytest.approx(OUTPUT_WEIGHT * prices.of(1, 9_999, 0, 100.0))
    prices.reported(report(None, 0), 1 / 500)
    assert prices.of(1, 9_999, 0, 100.0) == pytest.approx(1 / 500)
    assert prices.of(0, 9_999, 2, 100.0) == pytest.approx(OUTPUT_WEIGHT / 500)


def test_what_waited_costs_what_it_costs_when_it_is_sent() -> None:
    """A request that came before prices were known is charged at the ones known when it is dispatched."""
    prices = EngineCost()
    queue: FairQueue[QueuedRequest] = FairQueue(prices)
    tenant = queue.tenant("ann", 1.0)
    first, second = asked(1, 1_000, 51), asked(2, 1_000, 51)
    queue.push(first, tenant)
    queue.push(second, tenant)
    assert queue.pop(0.0) is first
    prices.reported(report(STEPS, 0), 0.0)
    assert queue.pop(0.0) is second
    assert second.cost == pytest.approx(0.07)
    assert first.cost != pytest.approx(second.cost, rel=0.1)
    assert tenant.tag == pytest.approx(first.cost + second.cost)
    queue.ended(first, 0.07)
    assert tenant.tag == pytest.approx(0.14)
