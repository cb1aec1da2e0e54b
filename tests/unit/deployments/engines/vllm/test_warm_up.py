"""The warm-up before a replica is ready, through the app of a simulated engine."""

from collections.abc import AsyncIterator

import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.engines.interface import Receive, Scope, Send
from deployments.engines.sim.engine import SimEngine
from deployments.engines.vllm import warm_up
from deployments.engines.vllm.warm_up import ALONE, TOGETHER, WarmUp


@pytest.fixture
async def engine() -> AsyncIterator[SimEngine]:
    """An engine of two data-parallel ranks that answers at once."""
    fast = {"prefill_tokens_per_s": 1e9, "inter_token_s": 0, "inter_token_per_seq_s": 0}
    found = SimEngine(ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": fast, "parallel": {"data": 2}}))
    await found.start()
    yield found
    await found.stop()


async def test_every_feature_is_used(engine: SimEngine) -> None:
    """Each request is answered once by each data-parallel rank."""
    asked: list[tuple[str, bytes]] = []

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append((scope["path"], dict(scope["headers"])[b"x-data-parallel-rank"]))
        await engine.app(scope, receive, send)

    warm = WarmUp(counted, "m", ["generate"], ranks=2)
    await warm.run()
    assert warm.refused == {}
    assert sorted(asked) == sorted((path, rank) for _, path, _ in (*ALONE, *TOGETHER) for rank in (b"0", b"1"))


async def test_a_model_that_embeds_is_warmed_by_an_embedding(engine: SimEngine) -> None:
    """What a model cannot do is not asked of it."""
    warm = WarmUp(engine.app, "m", ["embed"])
    await warm.run()
    assert warm.refused == {}


async def test_what_is_refused_hinders_nothing(engine: SimEngine) -> None:
    """A refusal is noted with its reason, and the rest goes on."""
    warm = WarmUp(engine.app, "another", ["generate"])
    await warm.run()
    assert warm.refused.keys() == {name for name, _, _ in (*ALONE, *TOGETHER)}
    assert all(reason.startswith("404 ") for reason in warm.refused.values())


async def test_a_slow_engine_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm-up ends at its limit."""
    monkeypatch.setattr(warm_up, "LIMIT_S", 0.05)
    slow = ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": {"inter_token_s": 30}})
    engine = SimEngine(slow)
    await engine.start()
    try:
        await WarmUp(engine.app, "m", ["generate"]).run()
        assert engine.stats().running == 0, "what was cut short runs no more"
    finally:
        await engine.stop()
