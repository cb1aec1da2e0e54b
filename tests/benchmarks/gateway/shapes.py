"""The loads that `bench-gateway` measures on every contestant in turn."""

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from tests.benchmarks.load_plan import LoadPlan, Prompts


@dataclass(frozen=True, slots=True)
class Shape:
    """One load.

    Attributes:
        name: as in tables and results.
        describes: one line for people.
        plan: the load; its port and seed are filled in.
        replicas: engines behind the gateway.
        step_ms: the engines' time between two chunks of a stream; 0: as fast as the gateway takes.
    """

    name: str
    describes: str
    plan: LoadPlan
    replicas: int = 2
    step_ms: int = 0

    @property
    def engine_arguments(self) -> list[str]:
        """How the engines run."""
        return ["--step-ms", str(self.step_ms), "--burst"]

    def scaled(self, share: float) -> "Shape":
        """Return the same shape with fewer requests, at least one for each connection."""
        requests = max(self.plan.connections, int(self.plan.requests * share))
        return replace(self, plan=msgspec.structs.replace(self.plan, requests=requests))


def _plan(  # noqa: PLR0913 - what the shapes differ in
    requests: int,
    connections: int = 32,
    *,
    words: int = 40,
    characters: int = 0,
    chunks: int = 0,
    prompts: Prompts = Prompts.DIFFERENT,
) -> LoadPlan:
    return LoadPlan(
        port=0,
        requests=requests,
        connections=connections,
        words=words,
        characters=characters,
        chunks=chunks,
        prompts=prompts,
    )


WORDS_40: Final = Shape("words40", "prompts of 40 words", _plan(2000))
WORDS_2000: Final = Shape("words2000", "prompts of 2 000 words", _plan(1000, words=2000))
CHARACTERS_100K: Final = Shape("chars100k", "prompts of 100 000 characters", _plan(300, characters=100_000))
STREAM: Final = Shape(
    "stream", "64-chunk streams, 48 open, engines write as fast as the gateway takes", _plan(288, 48, chunks=64)
)
BARRED: Final = (WORDS_40, WORDS_2000, CHARACTERS_100K, STREAM)
"""The shapes whose cost is promised."""

REPEATED: Final = Prompts.REPEATED
OTHERS: Final = (
    Shape("repeated40", "256 prompts of 40 words, over and over", _plan(2000, prompts=REPEATED)),
    Shape("repeated2000", "256 prompts of 2 000 words, over and over", _plan(1000, words=2000, prompts=REPEATED)),
    Shape("stream_steps", "64-chunk streams, 48 open, a chunk each 10 ms", _plan(144, 48, chunks=64), step_ms=10),
    Shape("streams1000", "64-chunk streams, 1 000 open", _plan(1000, 1000, chunks=64)),
    Shape("replicas64", "prompts of 40 words, 64 replicas", _plan(600), replicas=64),
    Shape("replicas256", "prompts of 40 words, 256 replicas", _plan(600), replicas=256),
)
CPU_SHAPES: Final = (*BARRED, *OTHERS)
LATENCY: Final = "latency"
IDLE: Final = "idle256"
MEMORY: Final = "memory"
NAMES: Final = (*(shape.name for shape in CPU_SHAPES), LATENCY, IDLE, MEMORY)
QUICK: Final = (*(shape.name for shape in BARRED), "repeated40", LATENCY, MEMORY)
"""What a smoke test runs; the same engines serve all of it, so that everybody is started once."""
