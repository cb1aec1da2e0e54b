"""`rackserve plan`: plans how to serve a model on given hardware within an SLO, and says why the alternatives lost."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.errors import SpecError, SpecProblem
from cluster.foresight.interval import Quantity, foreseen
from cluster.foresight.mlperf_rows import HIGHEST_ERROR, LOWEST_ERROR, MEDIAN_ERROR, PUBLISHED_ROWS
from cluster.kv_tiers.offload_trade import OffloadTrade
from cluster.launch.fabric import IMEX, as_environment, fabric_settings
from cluster.model_shapes.known_models import KNOWN_CONFIGS, known_model
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape
from cluster.planning.answer import cautions, cluster_file_entry, plan_data
from cluster.planning.disaggregation import TwoPools
from cluster.planning.option import Option
from cluster.planning.plan_file import PLAN_FILE, PlanFile, Slo
from cluster.planning.planner import Plan
from cluster.planning.planner import plan as make_plan
from deployments.process.read_file import read_text

SHOWN_SERVING = 8
"""Most alternatives shown that serve within the SLO."""
SHOWN_FAILING = 3
"""Most alternatives shown for each kind of reason for which others fail."""
SHOWN_SHARE = 0.01
"""Share of a step's time below which a part is not shown."""
SERVING_ENGINE = "vllm"
"""The engine that serves what is planned."""
_GB = 1e9


def plan(file: Path, *, as_json: bool, show_all: bool, console: Console) -> int:
    """Print the plan for a plan file.

    Args:
        file: the plan file.
        as_json: print everything as JSON instead of tables.
        show_all: list every alternative, not only the most informative ones.
        console: where tables go.

    Returns:
        The exit code: 1 if nothing serves the workload within the SLO.

    Raises:
        SpecError: the file has mistakes, names an unknown model, or asks for more than a machine has.
        ModelShapeError: the model's config.json has mistakes or is of an unknown family.
    """
    question = PLAN_FILE.load(read_text(file), str(file))
    shape, draft = shape_of(question.model, file), draft_shape_of(question, file)
    answer = make_plan(_with_draft_source(question, file), shape, _source_of(question.model, file), draft)
    _check_machines(answer, file)
    if as_json:
        print(json.dumps(plan_data(answer) | {"fabric": _fabric_data(answer)}, indent=2))  # noqa: T201 - for programs, on stdout
    else:
        _show(answer, console, show_all=show_all)
    return 0 if answer.gpus else 1


def _check_machines(answer: Plan, file: Path) -> None:
    """Check that the machines of a plan have what it asks of them beside their GPUs.

    Raises:
        SpecError: they have not; the message says what they have.
    """
    tiers = answer.offload
    if tiers is not None and tiers.is_used and not answer.is_apart:
        problems = [SpecProblem(f"offload.{key}", message) for key, message in tiers.room.problems(tiers.offload)]
        if problems:
            raise SpecError(str(file), problems)


def shape_of(name: str, plan_file: Path, key: str = "model") -> ModelShape:
    """Return the shape of a model: a known name, or the path of a config.json or of its folder.

    A relative path starts at the plan file's folder, and `~` is the home, as in a cluster file.

    Args:
        name: the name or path.
        plan_file: the plan file.
        key: where the name stands in it, for errors.
    """
    if name in KNOWN_CONFIGS:
        return known_model(name)
    config = _config_of(name, plan_file)
    if not config.is_file():
        known = ", ".join(KNOWN_CONFIGS)
        message = f"no model {name!r} is known here and there is no config.json at {config}; known: {known}"
        raise SpecError(str(plan_file), [SpecProblem(key, message)])
    try:
        content = json.loads(read_text(config))
    except json.JSONDecodeError as error:
        raise SpecError(str(config), [SpecProblem("", f"not JSON: {error}")]) from error
    return shape_from_config(content, config.parent.name if config.name == "config.json" else config.stem)


def _config_of(name: str, plan_file: Path) -> Path:
    path = plan_file.parent / Path(name).expanduser()
    return path / "config.json" if path.is_dir() else path


def _source_of(name: str, plan_file: Path) -> str:
    """Return the source for the cluster file: the folder of a `config.json`, absolute, as that file may be elsewhere.

    A config under another name has no checkpoint beside it: then the file itself, which the answer warns of.
    """
    if name in KNOWN_CONFIGS:
        return ""
    config = _config_of(name, plan_file).resolve()
    return str(config.parent if config.name == "config.json" else config)


def _with_draft_source(question: PlanFile, plan_file: Path) -> PlanFile:
    """Return the question with its draft model's path as the cluster file wants it, like that of the model itself."""
    speculative = question.speculative
    source = _source_of(speculative.model, plan_file) if speculative and speculative.method == "draft_model" else ""
    if speculative is None or not source:
        return question
    return question.model_copy(update={"speculative": speculative.model_copy(update={"model": source})})


def draft_shape_of(question: PlanFile, plan_file: Path) -> ModelShape | None:
    """Return the shape of the draft model that a plan file names; None: it names none."""
    speculative = question.speculative
    if speculative is None or speculative.method != "draft_model":
        return None
    return shape_of(speculative.model, plan_file, "speculative.model")


def _show(plan: Plan, console: Console, *, show_all: bool) -> None:
    model = plan.model
    size = f"{model.parameters / 1e9:.1f} B parameters"
    if model.experts:
        size += f", {model.active_parameters / 1e9:.1f} B active"
    weights = f"{model.weight_precision.name} weights of {_gb(model.weight_bytes)} GB"
    console.print(f"[bold]{escape(model.name)}[/] ({size}, {weights}) on [bold]{plan.hardware.title}[/]")
    if model.formats:
        formats = "; ".join(f"{_gb(size)} GB {title}" for title, size in model.formats)
        console.print(f"Its weights: {formats}.", highlight=False)
    best, apart = plan.best, plan.apart
    if apart and plan.is_apart:
        console.print(_pools_table(plan, apart))
    if best:
        console.print(_plan_table(plan, best))
        console.print(_memory_table(best))
    _show_reasons(plan, console)
    shown = list(plan.others) if show_all else list(_telling(plan.others))
    console.print(_others_table(shown, best))
    if len(shown) < len(plan.others):
        console.print(f"… and {len(plan.others) - len(shown)} more: --all lists them")
    _show_fabric(plan, console)
    entry = cluster_file_entry(plan)
    if entry:
        console.print("\nFor the cluster file:")
        console.print(yaml.safe_dump({"models": [entry]}, sort_keys=False), markup=False, highlight=False)
    console.print(
        "Times are those of a roofline fitted to measured serving points; four of five lie in the intervals. Of "
        f"{len(PUBLISHED_ROWS)} MLPerf results that it was not fitted to it is off by {MEDIAN_ERROR:.0%} (median), "
        f"from {LOWEST_ERROR:+.0%} to {HIGHEST_ERROR:+.0%} (cluster/foresight/README.md).",
        style="dim",
    )
    for caution in cautions(plan):
        console.print(f"Caution: {caution}.", style="yellow")


def _show_reasons(plan: Plan, console: Console) -> None:
    if not plan.gpus:
        console.print("[red]Nothing serves this workload within the SLO.[/]")
    elif plan.why_pools:
        console.print(f"{plan.why_pools[:1].upper()}{plan.why_pools[1:]}.", highlight=False)
    for trade in (plan.speculation, plan.offload):
        if trade:
            console.print(f"{'As one pool it' if plan.is_apart else 'It'} {trade.why}.", highlight=False)


def _fabric_data(plan: Plan) -> dict[str, str]:
    return dict(as_environment(fabric_settings(plan.hardware.nodes_per_domain)))


def _show_fabric(plan: Plan, console: Console) -> None:
    settings = fabric_settings(plan.hardware.nodes_per_domain)
    if not settings:
        return
    console.print("\nMachines that share NVLink; `rackserve up` and the chart set:")
    for setting in settings:
        console.print(
            f"  {setting.name}={setting.value}: {setting.why} ({setting.source})",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    console.print(f"They need {IMEX}.", markup=False, highlight=False, soft_wrap=True)


def _plan_table(plan: Plan, best: Option) -> Table:
    question, expected, steady = plan.question, plan.expected, best.steady
    table = Table("", "as one pool" if plan.is_apart else "the plan", title_justify="left")
    table.add_row("layout", f"[bold]{best.layout}[/], {best.precision} weights, {question.kv_precision} KV cache")
    gangs = f"{best.replicas} of {best.layout.gpus} GPU{'s' if best.layout.gpus > 1 else ''}"
    table.add_row("replicas", f"[bold]{gangs} = {best.gpus} GPUs[/], planned to {question.limits.load:.0%} of capacity")
    if steady:
        bound = f"{best.bound_by} allows no more" if best.bound_by != "engine" else "the engine's own limit"
        table.add_row("batch", f"{steady.batch} sequences a rank ({bound}), steps of {best.step_tokens} tokens")
        pools = question.task.pools
        each = question.workload.input_tokens if pools else 1
        likely = foreseen(each * best.tokens_per_s_per_gpu, Quantity.TOKENS_PER_S, SERVING_ENGINE)
        kind = "prompt" if pools else "output"
        capacity = f"{likely.value:,.0f} ({likely.low:,.0f} to {likely.high:,.0f}) {kind} tokens/s per GPU"
        table.add_row("capacity", f"{capacity}, {steady.requests_per_s:.2f} requests/s per replica")
        spent = sorted(
            ((getattr(steady.step, part) / steady.step.total, part) for part in steady.step.__slots__), reverse=True
        )
        shares = ", ".join(f"{part.replace('_', ' ')} {share:.0%}" for share, part in spent if share >= SHOWN_SHARE)
        table.add_row("a step's time", shares)
        adapters = question.adapters
        if adapters and best.memory:
            taken = (
                f"{_gb(best.memory.adapters)} GB of each GPU, {steady.step.adapters / steady.step.total:.0%} of a step"
            )
            table.add_row("LoRA adapters", f"{adapters.slots} slots of rank {adapters.rank}: {taken}")
    if plan.offload and plan.offload.is_used:
        table.add_row("beyond the GPUs", _on_machines(plan.offload))
    if expected:
        slo = question.slo
        rate = f"{question.workload.requests_per_s:g} requests/s"
        table.add_row(
            f"at {rate}", f"{_times(expected.ttft_s, expected.tpot_s, slo)}, {expected.batch} sequences a rank"
        )
    if not plan.is_apart:
        _add_cost(table, plan)
    return table


def _on_machines(tiers: OffloadTrade) -> str:
    room, offload = tiers.room, tiers.offload
    taken = f"{_gb(offload.cpu_bytes * room.replicas)} GB of {_gb(room.free_memory_bytes)} GB of host memory"
    if offload.disk_bytes:
        taken += f", {_gb(offload.disk_bytes * room.replicas)} GB of {_gb(room.free_disk_bytes)} GB of disk"
    return f"{taken} that a machine has free"


def _add_cost(table: Table, plan: Plan) -> None:
    if plan.question.price is None or plan.cost_per_million_tokens is None:
        return
    currency, every = plan.question.price.currency, f"{plan.cost_per_million_tokens:.2f}"
    if plan.cost_per_million_output_tokens is None:
        table.add_row("cost", f"{every} {currency} per million tokens of prompts")
    else:
        outputs = f"{plan.cost_per_million_output_tokens:.2f} {currency} per million output tokens"
        table.add_row("cost", f"{outputs}, {every} per million tokens with prompts")


def _pools_table(plan: Plan, apart: TwoPools) -> Table:
    question, slo = plan.question, plan.question.slo
    table = Table("", "the plan: two pools", title_justify="left")
    for pool in (apart.prefill, apart.decode):
        batch = f"{pool.batch} sequences a rank, " if pool.batch else ""
        table.add_row(
            f"{pool.role} pool",
            f"[bold]{pool.replicas} of {pool.layout.gpus} GPU{'s' if pool.layout.gpus > 1 else ''}[/], {pool.layout}, "
            f"{pool.precision} weights: {batch}{pool.requests_per_s:.2f} requests/s per replica "
            f"({pool.bound_by} allows no more)",
        )
    table.add_row("GPUs", f"[bold]{apart.gpus}[/], planned to {question.limits.load:.0%} of capacity")
    where = "inside an NVLink domain" if apart.within_domain else "over the network between domains"
    table.add_row("transfer", f"{_gb(apart.kv_bytes)} GB of KV cache a prompt, {apart.transfer_s * 1e3:.3g} ms {where}")
    table.add_row("at capacity", _times(apart.ttft_s, apart.tpot_s, slo, "apart"))
    _add_cost(table, plan)
    return table


def _times(ttft_s: float, tpot_s: float, slo: Slo, kind: str = "together") -> str:
    """Return both latencies with the intervals that hold four of five measurements, and the SLO."""
    first = foreseen(ttft_s, Quantity.TTFT, SERVING_ENGINE, kind)
    each = foreseen(tpot_s * 1e3, Quantity.TPOT, SERVING_ENGINE, kind)
    limits = f"{first.value:.3g} s ({first.low:.3g} to {first.high:.3g}; SLO {slo.ttft_s:g} s)"
    if slo.tpot_s is None:
        return f"answers after {limits}"
    return f"TTFT {limits}, TPOT {each.value:.3g} ms ({each.low:.3g} to {each.high:.3g}; SLO {slo.tpot_s * 1e3:g} ms)"


def _memory_table(best: Option) -> Table:
    table = Table("memory of each GPU", "GB")
    memory = best.memory
    if memory:
        for part in memory.__slots__:
            if part != "adapters" or memory.adapters:
                table.add_row(part.replace("_", " "), _gb(getattr(memory, part)))
    table.columns[1].justify = "right"
    return table


def _others_table(options: Iterable[Option], best: Option | None) -> Table:
    table = Table("alternative", "weights", "GPUs", "why it lost" if best else "why not")
    table.columns[2].justify = "right"
    for option in options:
        table.add_row(str(option.layout), option.precision, str(option.gpus or "–"), escape(option.why_lost))  # noqa: RUF001
    return table


def _telling(options: Iterable[Option]) -> Iterator[Option]:
    """Yield the best layout of each kind that serves, then the smallest that fail for each kind of reason."""
    seen: set[tuple[str, int, int]] = set()
    count = Counter[str]()
    for option in options:
        kind = (option.precision, option.layout.tensor, option.layout.data if option.steady else -1)
        reason = "" if option.steady else option.why_lost.partition(" ")[0].strip("0123456789")
        most = SHOWN_SERVING if option.steady else SHOWN_FAILING
        if count[reason] < most and (kind not in seen or reason in {"TPOT", "TTFT"}):
            seen.add(kind)
            count[reason] += 1
            yield option


def _gb(size: float) -> str:
    return f"{size / _GB:,.1f}"
