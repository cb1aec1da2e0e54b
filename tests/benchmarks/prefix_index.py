"""The prefix index and the pick, held to their bars: `python -m tests.benchmarks.prefix_index`. CPU time, one core.

Prints `BAR <name> <value> <op> <bound> ok|short` for each figure; the exit code is 1 when one is short.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from router.dispatch.replica import Replica
from router.estimator.model_estimator import ModelEstimator
from router.prefix_cache.index import PrefixIndex
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher, Hashes
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest
from router.scheduling.profile import Profile
from router.scheduling.registry import policy_named
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.result_file import our_versions, write_result

PROMPT_CHARS = 100_000
REPLICAS = 64
RESIDENT_CHUNKS = 5_000_000
BATCH = 256
PATH = "/v1/chat/completions"
HASHER = ChunkHasher(seed=20_26)


def cpu_us(call: Callable[[int], object], calls: int, rounds: int = 20) -> float:
    """Return the CPU time of one call in microseconds, the best round's mean; `call` is given its number."""
    best_s = float("inf")
    for round_number in range(rounds):
        started_s = time.process_time()
        for number in range(calls):
            call(round_number * calls + number)
        best_s = min(best_s, (time.process_time() - started_s) / calls)
    return best_s * 1e6


def random_hashes(generator: np.random.Generator, count: int) -> Hashes:
    """Return chunk hashes as random as xxh3's; shape (count,)."""
    return generator.integers(1, 2**64 - 1, count, dtype=np.uint64)


def chain_hashes(prompt: Prompt) -> Hashes:
    """Return a prompt's chain as the index takes it; shape (n,)."""
    return np.array(HASHER.of_prompt(prompt, model="m").hashes, np.uint64)


def filled_index(generator: np.random.Generator) -> tuple[PrefixIndex, list[str]]:
    """Return an index with `RESIDENT_CHUNKS` distinct chunks, evenly over `REPLICAS` replicas."""
    index = PrefixIndex()
    names = [f"replica-{number:03d}" for number in range(REPLICAS)]
    for name in names:
        index.add_replica(name)
    for start in range(0, RESIDENT_CHUNKS, 10_000):
        index.claim(names[start // 10_000 % REPLICAS], random_hashes(generator, 10_000))
    return index, names


def index_bars() -> list[Bar]:
    """Measure memory, lookups and updates of an index the size of a few racks."""
    generator = np.random.default_rng(0)
    index, names = filled_index(generator)
    memory_mb = index.nbytes / 1e6
    resident = sum(index.claims(name) for name in names)

    rng = Random(0)
    prompts = [Prompt([rng.randbytes(PROMPT_CHARS // 2).hex().encode()]) for _ in range(64)]
    for prompt in prompts:
        hashes = chain_hashes(prompt)
        for name in names:
            index.claim(name, hashes[: rng.randrange(len(hashes) + 1)])
    held_us = cpu_us(lambda number: index.match(chain_hashes(prompts[number % 64])), 64)
    unknown = [Prompt([rng.randbytes(PROMPT_CHARS // 2).hex().encode()]) for _ in range(64)]
    new_us = cpu_us(lambda number: index.match(chain_hashes(unknown[number % 64])), 64)

    batches = [random_hashes(generator, BATCH) for _ in range(400)]

    def update(number: int) -> None:
        index.claim(names[number % REPLICAS], batches[number % 400])
        index.evict(names[(number - 50) % REPLICAS], batches[(number - 50) % 400])

    updates_per_s = 2 * BATCH / cpu_us(update, 400) * 1e6
    small = [random_hashes(generator, 16) for _ in range(400)]

    def small_update(number: int) -> None:
        index.claim(names[number % REPLICAS], small[number % 400])
        index.evict(names[(number - 50) % REPLICAS], small[(number - 50) % 400])

    small_updates_per_s = 2 * 16 / cpu_us(small_update, 400) * 1e6
    return [
        Bar("index_lookup_100k_chars_64_replicas_us", held_us, "<=", 150),
        Bar("index_lookup_100k_chars_nobody_holds_us", new_us, "<=", 150),
        Bar("index_resident_chunks", resident, ">=", 0.999 * RESIDENT_CHUNKS),
        Bar("index_memory_mb", memory_mb, "<=", 250),
        Bar("index_updates_per_s_in_256s", updates_per_s, ">=", 200_000),
        Bar("index_updates_per_s_in_16s", small_updates_per_s, ">=", 200_000),
    ]


def _body(*messages: str) -> bytes:
    roles = ("user", "assistant")
    rows = [{"role": roles[at % 2], "content": content} for at, content in enumerate(messages)]
    return json.dumps({"model": "m", "stream": True, "messages": rows, "max_tokens": 16}).encode()


def pick_bars() -> list[Bar]:
    """Measure a whole pick over 8 replicas: body → canonical bytes → hashes → lookup → scores → choice."""
    estimator = ModelEstimator()
    policy = policy_named("expected_ttft", estimator)
    replicas = [Replica(Endpoint(f"r{number}", "m", "h", 1, kv_tokens=500_000)) for number in range(8)]
    for number, replica in enumerate(replicas):
        estimator.join(replica)
        replica.report = LoadReport(1, 8, 2, 1000 * number, 0.5, 500_000, 0.0, 900.0)
        estimator.reported(replica, replica.report, 0.0)
    bodies = {
        "2000_words": _body("word after word " * 750),
        "chat_of_12": _body(*["some words in a turn of a chat " * 32] * 12),
        "40_words": _body("word after word " * 13),
    }
    bounds = {"2000_words": 60.0, "chat_of_12": 60.0, "40_words": 15.0}
    bars = []
    for name, body in bodies.items():
        for number in range(4):
            estimator.expect(_request(body, estimator), replicas[number])
        bars.append(Bar(f"pick_us_{name}", _pick_us(estimator, policy, replicas, body), "<=", bounds[name]))
    return bars


def _request(body: bytes, estimator: ModelEstimator) -> RoutingRequest:
    chain = HASHER.of_body(PATH, body, model="m")
    match = estimator.match(chain)
    return RoutingRequest("id", "m", PATH, stream=True, body=body, now_s=0.05, chain=chain, match=match)


def _pick_us(estimator: ModelEstimator, policy: Profile, replicas: list[Replica], body: bytes) -> float:
    rng = Random(0)

    def pick(number: int) -> None:
        del number
        policy.decide(_request(body, estimator), replicas, rng)

    best_us = cpu_us(pick, 100)
    estimator.check_integrity()
    return best_us


def main() -> int:
    """Measure and write the result; return the exit code: 0 if every bar holds."""
    bars = index_bars() + pick_bars()
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("figure", "value", "bound", title=f"prefix index, {REPLICAS} replicas", title_justify="left")
    for bar in bars:
        table.add_row(bar.name, f"{bar.value:,.4g}", f"{bar.op} {bar.bound:,.4g}")
    console.print(table)
    console.print(f"results: {write_result('bench-index', {}, bars, versions=our_versions())}", highlight=False)
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
