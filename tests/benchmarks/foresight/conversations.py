"""The same conversations sent to a live cluster, and simulated by its twin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cluster.model_shapes.known_models import known_model
from cluster.spec import cluster_file
from deployments.load.client.endpoint import LoadEndpoint
from deployments.load.client.run import LoadRun, StreamOfSessions
from deployments.load.figures.measures import SloLimits, figures_of
from deployments.load.sessions.live_stream import LiveStream
from deployments.load.sessions.session_source import sessions_of
from deployments.load.sessions.texts import Texts
from deployments.twin.answer import answer
from deployments.twin.closed_loop import streams
from deployments.twin.cluster import Cluster
from deployments.twin.engines.measured_times import MeasuredTimes
from deployments.twin.run import TwinRun
from deployments.twin.scenario_file import SCENARIO_FILE
from tests.benchmarks.foresight.calibration import EngineSpeed
from tests.benchmarks.foresight.shared_cores import SharedCores
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.routing.gateways import POLICY
from tests.benchmarks.routing.plain_engines import BLOCK_TOKENS, ENGINES, KV_BLOCKS
from tests.benchmarks.token_streams import BrokenStreamError

LOAD: Final[Mapping[str, object]] = {
    "at_a_time": 6,
    "turns": 4.0,
    "think_s": 0.3,
    "prompt_tokens": 32,
    "output_tokens": 24,
    "spread": 0.4,
    "prefixes": 9,
    "prefix_tokens": 512,
}
"""Six chats at a time with nine system prompts, four turns each in the mean: together the prompts fill the caches."""
SEQUENCES: Final = 16


@dataclass(frozen=True, slots=True)
class ChatFigures:
    """What a run of conversations came to.

    Attributes:
        requests: answered requests.
        ttft_s: mean seconds to the first token.
        tokens_per_s: tokens of answers a second.
        prompt_tokens: tokens of all prompts.
        cached_share: share of those that were cached.
        tpot_s: mean seconds of a token after the first.
    """

    requests: int
    ttft_s: float
    tokens_per_s: float
    prompt_tokens: int
    cached_share: float
    tpot_s: float


def chats(requests: int) -> LiveStream:
    """Return the load, of about so many requests."""
    return LiveStream.model_validate({**LOAD, "requests": requests})


class TemplateTexts(Texts):
    """Texts of messages that have their lengths with what the chat template adds to each.

    Args:
        template_tokens: tokens that it adds to a turn.
        texts: words of a token, and the seed.
    """

    def __init__(self, words_per_token: float, seed: int, template_tokens: int) -> None:
        super().__init__(words_per_token, seed)
        self._template_tokens = template_tokens

    def fresh(self, tokens: int) -> str:
        """Return a message of a wanted length."""
        return super().fresh(max(1, tokens - self._template_tokens))


async def sent(endpoint: LoadEndpoint, spec: LiveStream, seed: int, texts: Texts) -> ChatFigures:
    """Send the load to a live cluster.

    Raises:
        BrokenStreamError: a request has no whole answer.
    """
    seen = await LoadRun(endpoint, [StreamOfSessions(sessions_of(spec, 0, seed, texts), spec.at_a_time)]).carry_out()
    found = figures_of(seen.records, None, seen.seconds, SloLimits())
    if found.problems or found.ttft_s is None or found.tpot_s is None:
        raise BrokenStreamError(f"not all chats were answered: {dict(found.problems)}")
    return ChatFigures(
        found.answered, found.ttft_s.mean, found.output_tokens_per_s, found.prompt_tokens or 0,
        found.cached_share or 0.0, found.tpot_s.mean,
    )  # fmt: skip


def foreseen(spec: LiveStream, seed: int, speed: EngineSpeed) -> ChatFigures:
    """Return what the twin of the cluster says of the same load."""
    cluster = _twin(spec, speed)
    run: TwinRun | None = None

    def computing() -> int:
        return sum(not each.engine.is_idle for each in run.fleet.members.values()) if run is not None else 1

    shared = tuple(
        tuple(replace(kind, times=_shared(kind.times, speed.slower, computing)) for kind in kinds)
        for kinds in cluster.kinds
    )
    cluster = replace(cluster, kinds=shared)
    run = TwinRun(cluster, streams(cluster.scenario.load, seed, BLOCK_TOKENS), seed)
    run.run()
    run.check_integrity()
    found = answer(cluster, run)
    return ChatFigures(
        found.all.answered, found.all.ttft_s[0], found.output_tokens_per_s, found.all.prompt_tokens,
        found.all.cached_share, found.all.tpot_s[0],
    )  # fmt: skip


def _shared(times: object, slower: Sequence[float], computing: Any) -> SharedCores:  # noqa: ANN401 - as `SharedCores`
    assert isinstance(times, MeasuredTimes)
    return SharedCores(times, slower, computing)


def _twin(spec: LiveStream, speed: EngineSpeed) -> Cluster:
    model = {"name": MODEL, "source": MODEL, "engine": "vllm", "replicas": ENGINES, "policy": POLICY}
    measured = {**speed.steps(), "kv_tokens": KV_BLOCKS * BLOCK_TOKENS, "sequences": SEQUENCES}
    scenario = SCENARIO_FILE.from_data(
        {
            "load": [spec.model_dump(exclude_unset=True)],
            "request_s": speed.request_s,
            "block_tokens": BLOCK_TOKENS,
            "models": {MODEL: {"measured": measured}},
        },
        "bench-foresight",
    )
    file = cluster_file.from_data({"models": [model]}, "bench-foresight")
    return Cluster.of(file, scenario, lambda name, _: known_model(name), source="bench-foresight")
