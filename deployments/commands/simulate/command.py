"""`rackserve simulate`: runs cluster files against a load or a trace in virtual time, and says what came of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.errors import SpecError, SpecProblem
from cluster.placement.topology_file import TOPOLOGY_FILE, TopologyFile
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.yaml_tree import read_tree
from deployments.commands.files.plan import shape_of
from deployments.commands.simulate.html_report import html_report
from deployments.commands.simulate.picture import picture
from deployments.commands.simulate.simulated_run import SimulatedRun
from deployments.commands.simulate.sweep import Sweep
from deployments.commands.simulate.tables import compare, show
from deployments.process.read_file import read_text
from deployments.simulator.trace import BLOCK_TOKENS, TraceRequest
from deployments.simulator.trace_file import read_trace
from deployments.twin.arrivals import Arrival, expected, recorded
from deployments.twin.closed_loop import streams
from deployments.twin.cluster import Cluster
from deployments.twin.run import TwinRun
from deployments.twin.scenario_file import SCENARIO_FILE, ScenarioFile, stream_of

_DEFAULT_LOAD: Final = "rate=1,seconds=600"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked for, beside its cluster file.

    Attributes:
        scenario: the scenario file; None: there is none.
        load: streams as `key=value,…`, in place of the scenario's.
        trace: a recorded trace, in place of a load.
        speedup: factor by which the trace is played faster.
        limit: most requests of the trace; 0: all.
        topology: the machines; None: just enough.
        hardware: kind of GPU of pools that name none; "": as the scenario says.
        gpu_hour: price of a GPU for an hour; 0: as the scenario says.
        lose: what is lost, as `NAME@SECONDS` or `NAME@SECONDS+SECONDS`.
        update: what is updated, as `MODEL@SECONDS`.
        seed: seed of all chance.
    """

    scenario: Path | None = None
    load: Sequence[str] = ()
    trace: Path | None = None
    speedup: float = 1.0
    limit: int = 0
    topology: Path | None = None
    hardware: str = ""
    gpu_hour: float = 0.0
    lose: Sequence[str] = ()
    update: Sequence[str] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """How runs are shown.

    Attributes:
        as_json: print the figures as JSON.
        html: where to write the report; None: nowhere.
        png: where to write the picture; None: nowhere.
        console: where tables go.
        progress: where the progress bar goes.
    """

    as_json: bool
    html: Path | None
    png: Path | None
    console: Console
    progress: Console


def simulate(files: Sequence[Path], sweep: str, asked: Asked, shown: Shown) -> None:
    """Run cluster files and print what came of them.

    Args:
        files: the cluster files; several are compared.
        sweep: a key and values, as `Sweep.of` says; "": none.
        asked: load, events and machines.
        shown: how results are shown.

    Raises:
        SpecError: a file or an option is wrong.
        TraceError: the trace is wrong.
        MissingPackageError: plots are asked for, and cannot be made.
    """
    trace = read_trace(asked.trace, asked.limit or None) if asked.trace is not None else None
    scenario = _scenario(asked, has_trace=trace is not None)
    outcomes = []
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} requests"),
        TimeRemainingColumn(), console=shown.progress, transient=True,
    ) as progress:  # fmt: skip
        for name, source, spec in _specs(files, sweep):
            cluster = _cluster(spec, source, scenario, asked)
            task = progress.add_task(name, total=len(trace) if trace is not None else expected(scenario.load))
            run = TwinRun(
                cluster,
                _arrivals(trace, cluster, asked),
                asked.seed,
                lambda ended, task=task: progress.update(task, completed=ended),  # type: ignore[misc]
            )
            began_s = process_time()
            run.run()
            outcomes.append(SimulatedRun.of(name, cluster, run, process_time() - began_s))
            progress.remove_task(task)
    _show(outcomes, asked, shown)


def _show(outcomes: Sequence[SimulatedRun], asked: Asked, shown: Shown) -> None:
    if shown.html is not None or shown.png is not None:
        png = picture(outcomes)
        if shown.png is not None:
            shown.png.write_bytes(png)
        if shown.html is not None:
            note = f"rackserve simulate in virtual time; seed {asked.seed} gives these figures again, to the digit"
            title = " and ".join(outcome.name for outcome in outcomes[:4])
            shown.html.write_text(html_report(f"Simulated: {title}", outcomes, png, note), encoding="utf-8")
    if shown.as_json:
        found = [outcome.as_dict() for outcome in outcomes]
        print(json.dumps(found[0] if len(found) == 1 else found, indent=2))  # noqa: T201 - for programs, on stdout
        return
    if len(outcomes) == 1:
        show(outcomes[0], shown.console)
    else:
        compare(outcomes, shown.console)
    spent_s = sum(outcome.cpu_s for outcome in outcomes)
    count = sum(outcome.answer.all.requests for outcome in outcomes)
    each = spent_s / max(1, count) * 1e6
    shown.console.print(f"Simulated in {spent_s:,.1f} s of CPU, {each:,.0f} µs a request.", style="dim")
    for path in filter(None, (shown.html, shown.png)):
        shown.console.print(f"written: {path}", style="dim")


def _arrivals(trace: Sequence[TraceRequest] | None, cluster: Cluster, asked: Asked) -> Iterator[Arrival]:
    if trace is None:
        return streams(cluster.scenario.load, asked.seed, cluster.scenario.block_tokens)
    tenants = [tenant.name for tenant in cluster.spec.gateway.tenants]
    return recorded(trace, asked.seed, asked.speedup, tenants, cluster.names)


def _specs(files: Sequence[Path], sweep: str) -> Iterator[tuple[str, str, ClusterSpec]]:
    """Yield the cluster files to run, each with a name and where it is from; of a sweep one for each value."""
    asked = Sweep.of(sweep) if sweep else None
    for file in files:
        text = read_text(file)
        if asked is None:
            yield file.name, str(file), cluster_file.load(text, str(file))
            continue
        cluster_file.load(text, str(file))  # its own mistakes, with their lines, before those of a value
        for name, data in asked.applied(read_tree(text).data):
            label = name if len(files) == 1 else f"{file.name} {name}"
            yield label, f"{file} with {name}", cluster_file.from_data(data, f"{file} with {name}")


def _cluster(spec: ClusterSpec, source: str, scenario: ScenarioFile, asked: Asked) -> Cluster:
    machines: TopologyFile | None = None
    if asked.topology is not None:
        machines = TOPOLOGY_FILE.load(read_text(asked.topology), str(asked.topology))
    return Cluster.of(
        spec,
        scenario,
        lambda name, key: shape_of(name, Path(source.partition(" with ")[0]), key),
        source=source,
        topology=machines.topology() if machines is not None else None,
        spares_per_domain=machines.spares_per_domain if machines is not None and machines.spares_per_domain else None,
    )


def _scenario(asked: Asked, *, has_trace: bool) -> ScenarioFile:
    """Return the scenario, with what options say in place of what its file says."""
    found: dict[str, Any] = {}
    source = "--load"
    if asked.scenario is not None:
        source = str(asked.scenario)
        given = SCENARIO_FILE.load(read_text(asked.scenario), source)
        found = given.model_dump(mode="json", exclude_unset=True)
    if asked.load:
        found["load"] = [_stream(text) for text in asked.load]
    elif not has_trace and not found.get("load"):
        found["load"] = [_stream(_DEFAULT_LOAD)]
    if asked.hardware:
        found["hardware"] = asked.hardware
    if asked.gpu_hour:
        found["gpu_hour"] = asked.gpu_hour
    if has_trace and found.get("block_tokens", BLOCK_TOKENS) != BLOCK_TOKENS:
        raise SpecError(source, [SpecProblem("block_tokens", f"a trace has blocks of {BLOCK_TOKENS} tokens")])
    found["events"] = [*found.get("events", ()), *_losses(asked.lose), *_updates(asked.update)]
    return SCENARIO_FILE.from_data(found, source)


def _stream(text: str) -> dict[str, object]:
    try:
        return dict(stream_of(text))
    except ValueError as error:
        raise SpecError("--load", [SpecProblem(text, str(error))]) from error


def _losses(told: Sequence[str]) -> Iterator[dict[str, object]]:
    for text in told:
        name, _, when = text.rpartition("@")
        at_s, _, for_s = when.partition("+")
        yield {"at_s": _seconds("--lose", text, at_s), "lose": name, "for_s": _seconds("--lose", text, for_s or "0")}


def _updates(told: Sequence[str]) -> Iterator[dict[str, object]]:
    for text in told:
        name, _, at_s = text.rpartition("@")
        yield {"at_s": _seconds("--update", text, at_s), "update": name}


def _seconds(option: str, text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise SpecError(option, [SpecProblem(text, "say NAME@SECONDS, such as rack-0-0-n1@600+300")]) from error
