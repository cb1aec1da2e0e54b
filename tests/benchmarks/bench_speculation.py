"""Speculative decoding beside none, on real vLLM: tokens a second of one stream that copies, and of one that does not.

`make bench-speculation`. Two engines of SmolLM2, each with one thread, stand side by side; one drafts from n-grams.
They are asked the same in turn, never at the same time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from cluster.spec.model_spec import ModelSpec
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.engine_dtype import engine_dtype
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import ServedEngine
from tests.speculation_texts import COPY, FREE

NONE: Final = "none"
NGRAM: Final = "ngram"
ENGINES: Final[dict[str, dict[str, Any]]] = {NONE: {}, NGRAM: {"speculative": {"method": "ngram", "tokens": 5}}}
COPYING: Final = "copying"
WRITING: Final = "writing freely"
TOKENS: Final = 128
MODEL: Final[dict[str, Any]] = {
    "name": "m",
    "engine": "vllm",
    "source": VLLM.source,
    "engine_args": {
        "dtype": engine_dtype(),
        "max_model_len": 2048,
        "num_gpu_blocks_override": 128,
        "kv_cache_memory_bytes": 256 << 20,
    },
}


@contextmanager
def _engines(folder: Path) -> Iterator[dict[str, ServedEngine]]:
    served: dict[str, ServedEngine] = {}
    try:
        for name, more in ENGINES.items():
            served[name] = ServedEngine(ModelSpec.model_validate({**MODEL, **more}), folder / f"{name}.log")
            served[name].wait_ready()
        yield served
    finally:
        for engine in served.values():
            engine.close()


def _prompt(workload: str, number: int) -> str:
    return COPY if workload == COPYING else FREE[number % len(FREE)]


def _ask(engine: ServedEngine, prompt: str, tokens: int = TOKENS) -> tuple[float, str]:
    """Return the seconds of a whole answer, from the request to its last byte, and its text."""
    began_s = time.perf_counter()
    answer = engine.complete(prompt, max_tokens=tokens, ignore_eos=True)
    took_s = time.perf_counter() - began_s
    if answer["usage"]["completion_tokens"] != tokens:
        raise RuntimeError(f"{answer['usage']['completion_tokens']} tokens came where {tokens} were asked for")
    return took_s, answer["choices"][0]["text"]


def _measure(engines: dict[str, ServedEngine], rounds: int) -> dict[str, Any]:
    """Ask in turn, the engines in another order each round; return each answer's seconds, and whether texts agree."""
    seconds: dict[str, dict[str, list[float]]] = {
        workload: {name: [] for name in ENGINES} for workload in (COPYING, WRITING)
    }
    agree = dict.fromkeys(seconds, 0)
    for engine in engines.values():
        for prompt in (COPY, *FREE):
            _ask(engine, prompt, 1)  # puts the prompt into the cache
    for number in range(rounds):
        for workload, of_engine in seconds.items():
            texts = []
            for name in list(ENGINES)[:: 1 if number % 2 else -1]:
                took_s, text = _ask(engines[name], _prompt(workload, number))
                texts.append(text)
                of_engine[name].append(took_s)
            agree[workload] += texts[0] == texts[1]
            shown = ", ".join(f"{name} {TOKENS / of_engine[name][-1]:.0f} tokens/s" for name in ENGINES)
            print(f"round {number + 1} of {rounds}, {workload}: {shown}", flush=True)
    return {"seconds": seconds, "equal_texts": agree}


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, else 1."""
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="answers that count, of each engine and workload")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-speculation-") as folder, _engines(Path(folder)) as engines:
        found = _measure(engines, options.rounds)
        told = engines[NGRAM].view("stats")["speculation"]
    seconds = found["seconds"]
    rates = {workload: {name: TOKENS / median(took) for name, took in row.items()} for workload, row in seconds.items()}
    for workload, row in rates.items():
        ratio = row[NGRAM] / row[NONE]
        equal = f"{found['equal_texts'][workload]} of {options.rounds} texts equal"
        print(f"{workload:15} {row[NONE]:6.1f} → {row[NGRAM]:6.1f} tokens/s, {ratio:.2f} × none; {equal}")  # noqa: RUF001
    # The engine's own figure is over both workloads; answers are as long, so it is compared with their sums.
    measured = sum(sum(row[NONE]) for row in seconds.values()) / sum(sum(row[NGRAM]) for row in seconds.values())
    print(f"over both: measured {measured:.2f} × none, told by the engine {told['speedup']:.2f} ×")  # noqa: RUF001
    off = max(told["speedup"] / measured, measured / told["speedup"]) if told["speedup"] else float("inf")
    bars = [
        Bar("speculation_copying_vs_none", rates[COPYING][NGRAM] / rates[COPYING][NONE], ">=", 2.0),
        Bar("speculation_copies_equal", found["equal_texts"][COPYING] / options.rounds, ">=", 1.0),
        Bar("speculation_told_vs_measured", off, "<=", 1.25),
    ]
    figures = {**found, "tokens_per_s": rates, "told": told, "measured_speedup": measured}
    path = write_result("bench-speculation", figures, bars, versions=our_versions(), directory=options.results)
    print(f"results: {path}")
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
