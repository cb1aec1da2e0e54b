"""Fuzzes parsers: `python -m tests.fuzz.run --inputs 1000000`, or `make fuzz`.

With atheris (`.setup/atheris` fetches it) inputs follow what the code does with them; without it they are the seeded
mutations of `mutation.py`. An input that breaks a promise is written to `.cache/fuzz/` and ends the run with 1.
"""

import argparse
import gc
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from tests.fuzz.mutation import inputs
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

ROOT: Final = Path(__file__).resolve().parents[2]
FOUND: Final = ROOT / ".cache/fuzz"
ATHERIS: Final = ROOT / ".cache/atheris"
OURS: Final = ("router.", "deployments.", "cluster.", "tests.fuzz.targets.", "python_multipart.")
"""What atheris follows: our code, and the parser of forms that ours is built on."""
SLOW_S: Final = 0.5
"""Seconds that no input of `LONGEST` bytes may take: a hundred times the usual, on a busy machine too."""


def fuzz(name: str, target: Target, count: int, seed: int) -> int:
    """Try `count` inputs on a target; return how many broke a promise, the first of which is written down."""
    began_s = time.perf_counter()
    slowest_s = 0.0
    for number, data in enumerate(inputs(target, count, seed)):
        before_s = time.process_time()
        try:
            target.check(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
            FOUND.mkdir(parents=True, exist_ok=True)
            path = FOUND / f"{name}-{seed}-{number}"
            path.write_bytes(data)
            print(f"{name}: input {number} of seed {seed}: {type(error).__name__}: {error}\n  {path}")  # noqa: T201
            return 1
        slowest_s = max(slowest_s, time.process_time() - before_s)
    rate = count / (time.perf_counter() - began_s)
    print(f"{name}: {count} inputs, {rate:.0f}/s, the slowest {1e3 * slowest_s:.0f} ms of CPU")  # noqa: T201
    return int(slowest_s > SLOW_S)


def instrument(function_by_function: Callable[[Any], object]) -> None:
    """Have atheris see which way our functions go. Its own hook sees no imports of modules that are compiled else."""
    logging.disable()  # parsers say of each bad input what is wrong with it
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and str(each.__module__).startswith(OURS):
            function_by_function(each)


def fuzz_by_coverage(name: str, count: int, seed: int) -> int:
    """Have atheris try `count` inputs on a target, in a process of its own, which it ends; return that one's code."""
    FOUND.mkdir(parents=True, exist_ok=True)
    program = (
        f"import sys; sys.path.insert(0, {str(ATHERIS)!r})\n"
        "import atheris\n"
        "from tests.fuzz.run import instrument\n"
        "from tests.fuzz.targets import TARGETS\n"
        "instrument(atheris.instrument_func)\n"
        f"atheris.Setup(sys.argv, TARGETS[{name!r}].check)\n"
        "atheris.Fuzz()\n"
    )
    corpus = FOUND / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    words = FOUND / f"{name}.dict"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in TARGETS[name].words)
    words.write_text("\n".join(f'"{word}"' for word in escaped), encoding="ascii")
    options = [
        f"-runs={count}",
        f"-seed={seed}",
        f"-dict={words}",
        f"-artifact_prefix={FOUND}/{name}-",
        "-max_len=4096",
    ]
    command = [sys.executable, "-c", program, str(corpus), *options, "-print_final_stats=1", "-verbosity=0"]
    return int(subprocess.run(command, cwd=ROOT, check=False).returncode != 0)


def main() -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many, shared by the targets")
    parser.add_argument("--seed", type=int, default=1, help="draws the inputs")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="only this one; may be repeated")
    parser.add_argument("--mutations", action="store_true", help="without atheris, which follows interpreted code only")
    options = parser.parse_args()
    logging.disable()  # parsers say of each bad input what is wrong with it
    names = options.target or list(TARGETS)
    count = -(-options.inputs // len(names))
    has_atheris = ATHERIS.is_dir() and not options.mutations
    print("coverage-guided, by atheris" if has_atheris else "seeded mutations")  # noqa: T201
    failures = 0
    for name in names:
        if has_atheris:
            failures += fuzz_by_coverage(name, count, options.seed)
        else:
            failures += fuzz(name, TARGETS[name], count, options.seed)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
