"""What a load client is asked to do and what it saw: the two messages between harness and client."""

from enum import StrEnum
from typing import Final

import msgspec

API_KEY: Final = "sk-bench"
"""The bearer token every load sends."""


class Prompts(StrEnum):
    """What the prompts of a load have in common."""

    DIFFERENT = "different"
    """Nothing: each differs from every other from its first word on."""
    REPEATED = "repeated"
    """256 prompts over and over."""
    CHATS = "chats"
    """A few system prompts, conversations that grow, a new message each time (`chat_prompts.py`)."""


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one server.

    Attributes:
        port: the server's port on loopback.
        requests: how many to send.
        connections: keep-alive connections, each with one request at a time.
        rate_per_s: arrivals a second (Poisson) on idle connections; 0: closed loop, every connection always busy.
        chunks: chunks of each streamed answer; 0: answers are not streamed.
        prompts: what the prompts have in common.
        words: words of each prompt.
        characters: characters of each prompt, if that is to be their measure; 0: `words` is. Not for chats.
        seed: seed of prompts and arrivals; two loads of one seed send the same prompts.
        model: the model to ask for.
        api_key: sent as the bearer token.
    """

    port: int
    requests: int
    connections: int
    rate_per_s: float = 0.0
    chunks: int = 0
    prompts: Prompts = Prompts.DIFFERENT
    words: int = 40
    characters: int = 0
    seed: int = 0
    model: str = "mock-engine"
    api_key: str = API_KEY


class LoadSeen(msgspec.Struct, kw_only=True):
    """What came of a plan.

    Attributes:
        answered: answers that were exactly the bytes the engine sends.
        errors: requests that were answered otherwise or not at all.
        error_samples: the first few errors in words.
        chunks: streamed chunks received.
        body_bytes: bytes of the answers' bodies.
        reads: times bytes arrived; close to chunks plus two a stream if nothing was coalesced on the way.
        wall_s: from the first request to the last answer.
        latency_us: the quantiles 0, 0.5, 1, … 100 percent of the time from a request's sending to its answer's end.
        stalled: arrivals that found no idle connection and waited (counted from the arrival in `latency_us`).
    """

    answered: int = 0
    errors: int = 0
    error_samples: list[str] = []
    chunks: int = 0
    body_bytes: int = 0
    reads: int = 0
    wall_s: float = 0.0
    latency_us: list[float] = []
    stalled: int = 0

    def percentile_us(self, percent: float) -> float:
        """Return a percentile of the latency; `percent` in steps of 0.5."""
        return self.latency_us[round(percent * 2)]

    @property
    def requests_per_s(self) -> float:
        """Answers a second."""
        return self.answered / self.wall_s
