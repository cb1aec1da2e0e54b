"""Options of `rackserve bench`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.errors import SpecError, SpecProblem
from deployments.cli.shared import AsJson

# ruff: noqa: PLC0415, FBT002, PLR0913, PLR0917
# Imports inside: a subcommand loads only what it needs. Flags and many parameters: Typer reads them from signatures.


def bench(
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="The endpoint: an OpenAI-compatible server.", show_default=False)
    ] = "",
    model: Annotated[str, typer.Option(help="Which model; by default the first one served.")] = "",
    api_key: Annotated[str, typer.Option(envvar="RACKSERVE_API_KEY", help="Your key, where keys are asked for.")] = "",
    load: Annotated[
        list[str] | None,
        typer.Option(
            help="Requests, as `rate=5,seconds=60,prompt_tokens=500,output_tokens=100`, with the keys of `simulate`; "
            "and `at_a_time` (a closed loop), `turns`, `think_s` (conversations), `calls_least`, `calls_most`, "
            "`tool_s`, `tool_tokens`, `helpers` (agents). `kind=chat`, `agents`, `long_context` or `bursts` begins "
            "with usual values. May be repeated.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="A recorded trace, or a file or folder that gateways captured.", show_default=False),
    ] = None,
    speedup: Annotated[float, typer.Option(min=1e-6, help="Factor by which the trace plays faster.")] = 1.0,
    limit: Annotated[int, typer.Option(min=0, help="Most requests taken from the trace's start; 0: all.")] = 0,
    mlperf: Annotated[
        str,
        typer.Option(
            metavar="SCENARIO",
            help="Have MLPerf's LoadGen say when what is asked: `offline`, `server`, `interactive` or "
            "`single-stream`. Of --load count rate, requests, seconds, the lengths, and at_a_time: requests open at "
            "once.",
        ),
    ] = "",
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="With --mlperf: ask questions once each, and count right answers.")
    ] = False,
    questions: Annotated[
        Path | None,
        typer.Option(
            help='The questions: {"prompt": …, "answer": …} a line. [default: 40 of ours]', show_default=False
        ),
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder that keeps LoadGen's logs.", show_default=False)] = None,
    slo_ttft_ms: Annotated[float, typer.Option(min=0.0, help="Longest good time to the first token; 0: any.")] = 0.0,
    slo_tpot_ms: Annotated[float, typer.Option(min=0.0, help="Longest good time per output token; 0: any.")] = 0.0,
    warm_up: Annotated[int, typer.Option(min=0, help="First requests that are not in the figures.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is given up.")] = 600.0,
    completions: Annotated[
        bool, typer.Option("--completions", help="Ask /v1/completions, in place of /v1/chat/completions.")
    ] = False,
    ends_early: Annotated[
        bool, typer.Option("--ends-early", help="Let answers end by themselves: do not send `ignore_eos`.")
    ] = False,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="A tokenizer.json, for endpoints that do not say their tokens.", show_default=False),
    ] = None,
    energy: Annotated[
        list[str] | None,
        typer.Option(
            help="Who measures energy: `nvml` (GPUs of this machine), or the page of a DCGM exporter; may be repeated.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of prompts and times; the same seed sends the same requests.")] = 0,
    name: Annotated[str, typer.Option(help="What the run is called in tables and plots.")] = "",
    save: Annotated[
        Path | None, typer.Option(help="Keep the run there, to compare it later.", show_default=False)
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="A.json B.json", help="Send nothing: compare two runs that were kept.", show_default=False
        ),
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write plots there as a PNG.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Send a load to a live endpoint, and measure what comes back.

    Time to first token, time per output token, gaps, goodput within an SLO, cached share. Open or closed loops,
    conversations, agents, long contexts, recorded traces, or MLPerf's LoadGen.

    ```
    rackserve bench http://127.0.0.1:8000 --load rate=5,seconds=60 --slo-ttft-ms 500 --slo-tpot-ms 50 --save a.json
    rackserve bench --compare a.json b.json
    ```
    """
    from deployments.commands.bench.command import BenchShown, compare_runs
    from deployments.commands.bench.command import bench as run
    from deployments.commands.bench.live_run import BenchAsked
    from deployments.load.figures.measures import SloLimits

    shown = BenchShown(as_json, save, png, Console(), Console(stderr=True))
    if (compare is not None) == bool(url):
        raise SpecError(
            "options", [SpecProblem("URL", "say where to send a load, or --compare two runs that were kept")]
        )
    if compare is not None:
        compare_runs(compare, shown)
        return
    asked = BenchAsked(
        url=url, api_key=api_key, model=model, load=tuple(load or ()), trace=trace, speedup=speedup, limit=limit,
        mlperf=mlperf, accuracy=accuracy, questions=questions, logs=logs, completions=completions,
        ends_early=ends_early, slo=SloLimits(slo_ttft_ms / 1e3 or None, slo_tpot_ms / 1e3 or None), warm_up=warm_up,
        timeout_s=timeout, tokenizer=tokenizer, energy=tuple(energy or ()), seed=seed, name=name,
    )  # fmt: skip
    run(asked, shown)
