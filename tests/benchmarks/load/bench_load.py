"""`rackserve bench` beside aiperf: the same requests to the same gateway, in turn: `make bench-load`."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from cluster.spec.model_spec import ModelSpec
from deployments.load.figures.run_file import RunFile, read_run
from deployments.load.sessions.live_stream import live_streams
from deployments.load.sessions.session_source import sessions_of
from deployments.load.sessions.texts import Texts
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.load.aiperf_peer import PeerLoad, run_aiperf
from tests.benchmarks.load.figures import Figures
from tests.benchmarks.paired_ratio import PairedRatio
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.routing.gateways import OURS, gateway
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.engine_contract.served_engine import ServedEngine

AGREEMENT: Final = 0.03
AT_ONCE: Final = ("closed", "ttft_s")
"""No bar: where a request follows an answer at once, its time to the first token says how soon it does: our own
client with a pause of 15 ms before each measured 6.5 % less, and the same rate (2026-11-30)."""
LIGHT: Final = 0.10
"""Share of a core that our client may take."""
ENGINES: Final = 2
MODEL: Final = ModelSpec.model_validate(
    {
        "name": "bench-load",
        "engine": "sim",
        "sim": {
            "prefill_tokens_per_s": 4000.0,
            "inter_token_s": 0.04,
            "inter_token_per_seq_s": 0.001,
            "max_num_seqs": 64,
            "kv_blocks": 8192,
            "prefix_caching": False,
        },
    }
)
"""A large model: its times are long beside what a machine of two cores does to them. It caches nothing, so that each
round finds what the round before found."""
LOADS: Final = {
    "closed": "at_a_time=8,requests={count},prompt_tokens=300,output_tokens=24,spread=0.5",
    "chats": "at_a_time=8,turns=8,think_s=0.5,requests={count},prompt_tokens=100,output_tokens=24,spread=0.5",
    "poisson": "rate=5,requests={count},prompt_tokens=300,output_tokens=24,spread=0.5",
}
"""Answers of different lengths: of equal ones, those that began in one step of an engine end in one, and how soon the
next requests follow decides whether they are computed together or one after the other."""


@dataclass(slots=True)
class Compared:
    """One load, by both.

    Attributes:
        sent: its requests.
        ours: what `rackserve bench` measured, one a round.
        peers: what aiperf measured.
        clients: what our client did to itself.
    """

    sent: int
    ours: list[Figures] = field(default_factory=list)
    peers: list[Figures] = field(default_factory=list)
    clients: list[Mapping[str, Any]] = field(default_factory=list)

    def ratios(self) -> dict[str, PairedRatio]:
        """Return ours over aiperf's, for each figure."""
        found: dict[str, PairedRatio] = {}
        for ours, peer in zip(self.ours, self.peers, strict=True):
            for name, ratio in ours.over(peer).items():
                found.setdefault(name, PairedRatio()).ratios.append(ratio)
        return found


@contextmanager
def endpoint(log_dir: Path) -> Iterator[tuple[str, list[ServedEngine]]]:
    """Run the gateway alone before simulated engines; yield its URL, and the engines."""
    with ExitStack() as stack:
        engines = [ServedEngine(MODEL, log_dir / f"engine-{number}.log") for number in range(ENGINES)]
        for engine in engines:
            stack.callback(engine.close)
        ports = [int(engine.wait_ready().url.rsplit(":", 1)[1]) for engine in engines]
        process = stack.enter_context(gateway(OURS, ports, log_dir))
        yield f"http://127.0.0.1:{process.port}", engines


def run_ours(url: str, load: str, folder: Path) -> RunFile:
    """Run `rackserve bench` as people do, and return the run that it keeps."""
    kept = folder / "run.json"
    command = [str(Path(sys.executable).with_name("rackserve")), "bench", url, "--load", load, "--save", str(kept)]
    subprocess.run([*command, "--json"], check=True, stdout=subprocess.DEVNULL)
    return read_run(kept)


def figures_of_run(run: RunFile) -> Figures:
    """Return what a run of ours is compared by."""
    found = run.figures()
    assert found.ttft_s is not None
    assert found.tpot_s is not None
    assert found.latency_s is not None
    return Figures(
        found.answered, found.ttft_s.mean, found.tpot_s.mean, found.latency_s.mean, found.requests_per_s,
        found.output_tokens_per_s,
    )  # fmt: skip


def compared(url: str, load: str, rounds: int, folder: Path) -> Compared:
    """Send one load by both, in turn, who begins changing each round; a first run of ours is not counted."""
    warm = run_ours(url, load, folder)
    (spec,) = live_streams([load])
    texts = Texts(warm.prompts["words_per_token"], warm.seed, warm.prompts["overhead_tokens"])
    peer_load = PeerLoad(list(sessions_of(spec, 0, warm.seed, texts)), spec.at_a_time)
    found = Compared(sum(session.requests for session in peer_load.sessions))
    for turn in range(rounds):
        for is_ours in (turn % 2 == 0, turn % 2 != 0):
            if is_ours:
                run = run_ours(url, load, folder)
                found.ours.append(figures_of_run(run))
                found.clients.append(run.client)
            else:
                found.peers.append(run_aiperf(url, MODEL.name, peer_load))
        ours, peer = found.ours[-1], found.peers[-1]
        told = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ours.over(peer).items())
        print(f"round {turn + 1}: {ours.requests} and {peer.requests} answered; ours over aiperf's: {told}", flush=True)
    return found


def bars_of(found: Mapping[str, Compared]) -> list[Bar]:
    """Return the bars."""
    bars = []
    for load, each in found.items():
        for name, ratio in each.ratios().items():
            if (load, name) != AT_ONCE:
                bars.append(Bar(f"load_{load}_{name}_off_aiperf", abs(ratio.value - 1.0), "<=", AGREEMENT))
        missing = sum(abs(each.sent - figures.requests) for figures in (*each.ours, *each.peers))
        bars.append(Bar(f"load_{load}_requests_missing", missing, "<=", 0))
        bars.append(
            Bar(f"load_{load}_client_cpu_share", max(client["cpu_share"] for client in each.clients), "<=", LIGHT)
        )
    return bars


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs for each load")
    parser.add_argument("--requests", type=int, default=160, help="requests of each run")
    parser.add_argument("--only", default=",".join(LOADS), help="which loads")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    options = parser.parse_args()
    unwind_on_sigterm()
    found: dict[str, Compared] = {}
    with tempfile.TemporaryDirectory() as name, endpoint(Path(name)) as (url, _):
        for load in options.only.split(","):
            print(f"{load}: {LOADS[load]}", flush=True)
            found[load] = compared(url, LOADS[load].format(count=options.requests), options.rounds, Path(name))
    bars = bars_of(found)
    figures = {
        load: {
            "ratios": {
                figure: {"value": ratio.value, "error": ratio.error if len(ratio.ratios) > 2 else None}
                for figure, ratio in each.ratios().items()
            },
            **asdict(each),
        }
        for load, each in found.items()
    }
    versions = {**our_versions(), "aiperf": _aiperf_version()}
    path = write_result("bench-load", figures, bars, versions=versions, directory=options.results)
    print(json.dumps({load: each["ratios"] for load, each in figures.items()}, indent=1))
    print(f"results: {path}")
    return report_bars(bars)


def _aiperf_version() -> str:
    lock = Path(__file__).parents[2] / "clients" / "locks" / "aiperf.txt"
    return next(line.partition("==")[2] for line in lock.read_text().splitlines() if line.startswith("aiperf=="))


if __name__ == "__main__":
    sys.exit(main())
