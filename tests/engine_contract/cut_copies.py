"""A text that has one way on, streamed through a gateway whose replicas break off: it ends as one that was not cut."""

from typing import Any, Final

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.gateway.cut_relay import relay, usage_of
from tests.speculation_texts import COPY

TOKENS: Final = 72
PATH: Final = "/v1/completions"


def routed(engine: ServedEngine) -> ModelSpec:
    """Return an engine's model as a gateway needs to know it."""
    return ModelSpec(name=engine.model.name, engine="sim", policy="round_robin")


def latest_part(text: str) -> str:
    """Return nine characters that come late in a text for the first time, to stop at.

    Engines hold eight characters back while these may follow, so that a stream which breaks off may end within a token.
    """
    latest = max(map(text.index, text))
    return text[latest - 6 : latest + 3]


async def check_copy(engine: ServedEngine, cuts: int, events: int, drafted: int = 0) -> None:
    """Assert that a copy which ends at `max_tokens`, and one that ends at a stop, are as if there were no cut.

    Args:
        engine: the engine.
        cuts: how often the stream is cut.
        events: events of it after which it is cut each time.
        drafted: most tokens that the engine drafts for a step. It counts the tokens of the step with the stop string in
            it that come after that, and where steps begin is another matter after a cut.
    """
    text = engine.ok(PATH, prompt=COPY, max_tokens=TOKENS, ignore_eos=True)["choices"][0]["text"]
    ends: dict[str, dict[str, Any]] = {
        "length": {"max_tokens": TOKENS},
        "stop": {"max_tokens": 4 * TOKENS, "stop": latest_part(text)},
    }
    for reason, limits in ends.items():
        asked = {"prompt": COPY, "ignore_eos": True, **limits}
        right = engine.ok(PATH, **asked)
        async with relay(engine, routed(engine), cuts, events) as between:
            streamed = await between.ask(PATH, **asked)
            counted = await between.completion_tokens()
            assert between.cuts.left == 0, "it ended before it was cut often enough"
        assert streamed.done
        assert streamed.text() == right["choices"][0]["text"], streamed.text()
        assert streamed.finish_reason() == right["choices"][0]["finish_reason"] == reason
        usage = usage_of(streamed)
        assert usage["prompt_tokens"] == right["usage"]["prompt_tokens"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        past_stop = drafted if reason == "stop" else 0
        assert abs(usage["completion_tokens"] - right["usage"]["completion_tokens"]) <= past_stop
        assert counted == usage["completion_tokens"]
