"""`rackserve bench`: sends a load to a live endpoint and says what came of it; or compares two runs that were kept."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from cluster.errors import ClusterError, SpecError, SpecProblem
from deployments.commands.bench.live_run import BenchAsked, bench_run
from deployments.commands.bench.picture import picture, pyplot
from deployments.commands.bench.tables import show, show_changes
from deployments.load.figures.comparison import compare
from deployments.load.figures.run_file import RunFile, read_run
from deployments.load.mlperf.scenarios import SCENARIOS


@dataclass(frozen=True, slots=True)
class BenchShown:
    """How a run is shown.

    Attributes:
        as_json: print the figures as JSON.
        save: where to keep the whole run; None: nowhere.
        png: where to write the plots; None: nowhere.
        console: where tables go.
        progress: where progress and warnings go.
    """

    as_json: bool
    save: Path | None
    png: Path | None
    console: Console
    progress: Console


def bench(asked: BenchAsked, shown: BenchShown) -> None:
    """Send a load and print what came of it.

    Raises:
        SpecError: an option or a file is wrong.
        TraceError: the trace is wrong.
        ClusterError: the endpoint does not answer, or no request has a whole answer.
        MissingPackageError: something optional is asked for and not installed.
    """
    _check(asked)
    if shown.png is not None:
        pyplot()  # what is missing is told before a run, not after it
    run = bench_run(asked, shown.progress)
    if shown.save is not None:
        shown.save.write_bytes(run.written())
    _print([run], shown)
    for path in filter(None, (shown.save, shown.png)):
        shown.progress.print(f"written: {path}", style="dim")
    if not run.figures().answered:
        raise ClusterError("no request has a whole answer")


def compare_runs(files: Sequence[Path], shown: BenchShown) -> None:
    """Print what changed between two runs that were kept.

    Raises:
        SpecError: a file is no run.
        MissingPackageError: plots are asked for, and cannot be made.
    """
    before, after = (read_run(path) for path in files)
    changes = compare(before, after)
    if shown.as_json:
        found = [{**asdict(change), "ratio": change.ratio, "verdict": change.verdict} for change in changes]
        print(json.dumps(found, indent=2))  # noqa: T201 - for programs, on stdout
    else:
        show_changes(before, after, changes, shown.console)
    if shown.png is not None:
        shown.png.write_bytes(picture([before, after]))


def as_dict(run: RunFile) -> dict[str, object]:
    """Return a run's figures as plain JSON values, without its single requests."""
    told = {name: getattr(run, name) for name in ("name", "url", "model", "began", "load", "seed", "is_whole")}
    return {
        **told,
        "slo": asdict(run.slo),
        "figures": run.figures().as_dict(),
        "prompts": run.prompts,
        "client": run.client,
        "energy": run.energy,
        "mlperf": run.mlperf,
    }


def _print(runs: Sequence[RunFile], shown: BenchShown) -> None:
    if shown.png is not None:
        shown.png.write_bytes(picture(runs))
    if shown.as_json:
        print(json.dumps(as_dict(runs[0]), indent=2))  # noqa: T201 - for programs, on stdout
    else:
        show(runs[0], shown.console)


def _check(asked: BenchAsked) -> None:
    """Raise for options that contradict one another."""
    problems = []
    if asked.mlperf and asked.mlperf not in SCENARIOS:
        problems.append(SpecProblem("--mlperf", f"there is no {asked.mlperf!r}; there are {', '.join(SCENARIOS)}"))
    if asked.trace is not None and (asked.load or asked.mlperf):
        problems.append(SpecProblem("--trace", "a trace says what is sent; leave --load and --mlperf out"))
    if asked.accuracy and not asked.mlperf:
        problems.append(SpecProblem("--accuracy", "it is a mode of LoadGen: say --mlperf offline too"))
    if asked.mlperf and asked.warm_up:
        problems.append(SpecProblem("--warm-up", "LoadGen counts every request"))
    if asked.mlperf and len(asked.load) > 1:
        problems.append(SpecProblem("--load", "LoadGen has one kind of requests"))
    if problems:
        raise SpecError("options", problems)
