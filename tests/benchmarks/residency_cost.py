"""What exact residency costs a replica: `python -m tests.benchmarks.residency_cost`. CPU time, one core.

Prints `BAR <name> <value> <op> <bound> ok|short` for each figure; the exit code is 1 when one is short.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deployments.engines.interface import AnswerSeen, BlockRemoved, BlockStored, PromptSeen
from deployments.kv_residency.chunk_block_map import ChunkBlockMap
from deployments.kv_residency.kv_tiers import KvTiers
from deployments.kv_residency.prompt_block_map import PromptBlockMap
from deployments.kv_residency.residency_log import ResidencyLog
from router.prompt.chunk_chain import ChunkHasher
from tests.benchmarks.bars import Bar, report_bars

BLOCK_TOKENS = 16
"""The default on GPUs: twice as many events as with the 32 of the CPU."""
PATH = "/v1/chat/completions"
WORDS = [f"{syllable}{number}" for number in range(100) for syllable in ("river", "stone", "light", "paper")]
VOCABULARY = [b" " + word.encode() for word in WORDS]


class Replica:
    """A replica's residency, and an engine that stores and removes what it is told to."""

    def __init__(self) -> None:
        self.chunk_block_map = ChunkBlockMap(1 << 20)
        self.tiers = KvTiers(BLOCK_TOKENS)
        self.log = ResidencyLog(self.chunk_block_map)
        self.prompts = PromptBlockMap(
            ChunkHasher(1),
            "m",
            chunk_block_map=self.chunk_block_map,
            place_of=self.tiers.place,
            block_tokens=BLOCK_TOKENS,
            token_texts=VOCABULARY,
        )
        self._names = 0

    def stored(self, ids: list[int], first: int = 0, parent: int | None = None) -> BlockStored:
        """Return the event of an engine that has prefilled `ids` from block `first` on."""
        count = len(ids) // BLOCK_TOKENS - first
        names = tuple(range(self._names + 1, self._names + count + 1))
        self._names += count
        tokens = tuple(ids[first * BLOCK_TOKENS : (first + count) * BLOCK_TOKENS])
        return BlockStored(names, parent, tokens, BLOCK_TOKENS)

    def take(self, event: BlockStored | BlockRemoved) -> None:
        """Take an event as `ReplicaResidency` does."""
        if isinstance(event, BlockStored):
            for key, place in self.tiers.stored(event):
                self.chunk_block_map.moved(key, place)
        else:
            for key, place in self.tiers.removed(event):
                self.chunk_block_map.moved(key, place)


def chat_of(tokens: int, rng: Random) -> tuple[bytes, list[int]]:
    """Return a chat's body of about so many tokens, and its token ids."""
    ids = rng.choices(range(len(WORDS)), k=tokens)
    text = "".join(VOCABULARY[number].decode() for number in ids)
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode(), ids


def cpu_us(call: Callable[[int], object], calls: int) -> float:
    """Return the CPU time of one call in microseconds, the best of five rounds' means; `call` is given its number."""
    best_s = float("inf")
    for round_number in range(5):
        started_s = time.process_time()
        for number in range(round_number * calls, (round_number + 1) * calls):
            call(number)
        best_s = min(best_s, time.process_time() - started_s)
    return best_s / calls * 1e6


def prompt_us(tokens: int, *, known: float) -> float:
    """Return what a prompt costs of which a share is known from the turn before."""
    replica, rng = Replica(), Random(1)
    calls = max(4, 40_000 // tokens)
    before = [chat_of(round(tokens * known), rng) for _ in range(5 * calls)]
    after = []
    for number, (body, ids) in enumerate(before):
        messages = json.loads(body)["messages"] if known else []
        new_body, new_ids = chat_of(tokens - len(ids), rng)
        messages += json.loads(new_body)["messages"]
        after.append((json.dumps({"messages": messages}).encode(), [*ids, *new_ids]))
        if known:
            replica.prompts.prompt(PromptSeen(f"before {number}", ids), PATH, body)

    def call(number: int) -> None:
        body, ids = after[number]
        replica.prompts.prompt(PromptSeen(str(number), ids), PATH, body)

    return cpu_us(call, calls)


def answer_us(tokens: int) -> float:
    """Return what an answer costs."""
    replica, rng = Replica(), Random(2)
    body, ids = chat_of(1000, rng)
    answers = [rng.choices(range(len(WORDS)), k=tokens) for _ in range(500)]
    texts = ["".join(VOCABULARY[number].decode() for number in answer) for answer in answers]
    for number in range(500):
        replica.prompts.prompt(PromptSeen(str(number), ids), PATH, body)
    return cpu_us(
        lambda number: replica.prompts.answer(AnswerSeen(str(number), (texts[number],), (tuple(answers[number]),))), 100
    )


def blocks_us() -> tuple[float, float, float]:
    """Return what 1000 blocks cost: to be stored, to be removed, and to be made deltas of."""
    replica, rng = Replica(), Random(3)
    chats = [chat_of(1000 * BLOCK_TOKENS, rng) for _ in range(20)]
    for number, (body, ids) in enumerate(chats):
        replica.prompts.prompt(PromptSeen(str(number), ids), PATH, body)
    stored = [replica.stored(ids) for _, ids in chats]
    storing = cpu_us(lambda number: replica.take(stored[number]), 4)
    replica.log.flush()
    removed = [[BlockRemoved((name,)) for name in event.block_hashes] for event in stored]

    def remove(number: int) -> None:
        for event in removed[number]:
            replica.take(event)

    removing = cpu_us(remove, 4)
    started_s = time.process_time()
    replica.log.flush()
    telling = (time.process_time() - started_s) * 1e6 / len(chats)
    return storing, removing, telling


def bytes_a_block() -> float:
    """Return the memory that one resident block takes, its chunks included."""
    rng = Random(4)
    chats = [chat_of(8000, rng) for _ in range(40)]
    tracemalloc.start()
    replica = Replica()
    for number, (body, ids) in enumerate(chats):
        replica.prompts.prompt(PromptSeen(str(number), ids), PATH, body)
        replica.take(replica.stored(ids))
        replica.prompts.answer(AnswerSeen(str(number), (), ()))
    replica.log.flush()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / len(replica.tiers.device)


def main() -> int:
    """Measure and print; returns 1 where a figure is short."""
    storing, removing, telling = blocks_us()
    return report_bars(
        [
            Bar("residency_prompt_1000_tokens_us", prompt_us(1000, known=0.0), "<=", 350),
            Bar("residency_prompt_1000_tokens_80_known_us", prompt_us(1000, known=0.8), "<=", 200),
            Bar("residency_prompt_25000_tokens_us", prompt_us(25_000, known=0.0), "<=", 6500),
            Bar("residency_prompt_25000_tokens_80_known_us", prompt_us(25_000, known=0.8), "<=", 3000),
            Bar("residency_answer_200_tokens_us", answer_us(200), "<=", 120),
            Bar("residency_1000_blocks_stored_us", storing, "<=", 1500),
            Bar("residency_1000_blocks_removed_us", removing, "<=", 1200),
            Bar("residency_1000_blocks_told_us", telling, "<=", 150),
            Bar("residency_bytes_a_block", bytes_a_block(), "<=", 400),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
