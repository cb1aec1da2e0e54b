"""A load of many LoRA adapters, some of them asked for far more often than others."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """One request.

    Attributes:
        at_s: when it comes, seconds from the start.
        adapter: the adapter that it is for.
        prompt_tokens: length of its prompt, which shares nothing with any other.
        output_tokens: length of its answer.
    """

    at_s: float
    adapter: str
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class SkewedLoad:
    """Requests that come at random, for adapters by Zipf's law: the n-th is asked for as 1 / n^skew.

    Attributes:
        adapters: number of adapters.
        skew: 0: all alike; 1: Zipf's own, which the popularity of pages and models follows.
        requests_per_s: requests a second, Poisson.
        seconds: length of the load.
        changes_every_s: seconds after which other adapters become the popular ones; 0: never.
    """

    adapters: int = 32
    skew: float = 1.0
    requests_per_s: float = 10.0
    seconds: float = 600.0
    changes_every_s: float = 0.0

    def names(self) -> list[str]:
        """Return the adapters' names."""
        return [f"adapter-{number:02}" for number in range(self.adapters)]

    def requests(self, seed: int) -> list[AdapterRequest]:
        """Draw the requests, in the order in which they come."""
        rng = Random(seed)
        weights = [1.0 / (rank + 1) ** self.skew for rank in range(self.adapters)]
        ranked = self.names()
        found: list[AdapterRequest] = []
        at_s, changes_s = 0.0, self.changes_every_s
        while (at_s := at_s + rng.expovariate(self.requests_per_s)) < self.seconds:
            if changes_s and at_s >= changes_s:
                rng.shuffle(ranked)
                changes_s += self.changes_every_s
            adapter = rng.choices(ranked, weights)[0]
            found.append(AdapterRequest(at_s, adapter, rng.randint(100, 600), rng.randint(20, 120)))
        return found
