"""The twin of a cluster: CPU time for a request and memory, and published shapes repeated: `make bench-simulate`."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.simulate.mlperf_shapes import ARRIVALS_S, Shape, offline, server
from tests.benchmarks.simulate.speed import Speed, dispatcher_us, measured

FEW, MANY = 8, 288
MOST_S, MOST_BYTES = 600.0, 4 * 2**30
FLAT = 1.25
"""Most CPU time for a request on 288 GPUs over that on 8, without the live dispatcher's own: it weighs every replica
for each request, so its part grows with their number, here as in a gateway."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="requests of the large run")
    parser.add_argument("--few", type=int, default=200_000, help="requests of the run on 8 GPUs")
    parser.add_argument("--seconds", type=float, default=ARRIVALS_S, help="seconds of arrivals of the server scenario")
    parser.add_argument("--only-speed", action="store_true", help="leave the published shapes out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def speed_bars(few: Speed, many: Speed, requests: int, alone_us: tuple[float, float]) -> list[Bar]:
    """Return the bars of speed; a run of fewer requests than a million is held to its part of the time.

    Args:
        few: the run on few GPUs.
        many: the run on many.
        requests: requests of that.
        alone_us: microseconds that the dispatcher alone takes of a request, on few and on many.
    """
    share = requests / 1_000_000
    return [
        Bar("simulate_cpu_s_288_gpus", many.cpu_s, "<=", MOST_S * share),
        Bar("simulate_peak_bytes_288_gpus", many.peak_bytes, "<=", MOST_BYTES),
        Bar(
            "simulate_own_cpu_of_288_over_8_gpus", (many.cpu_us - alone_us[1]) / (few.cpu_us - alone_us[0]), "<=", FLAT
        ),
    ]


def shape_bars(servers: tuple[Shape, Shape], offlines: tuple[Shape, Shape]) -> list[Bar]:
    """Return the bars of published shapes: one rack, then four."""
    lost_server, lost_offline = (
        1 - four.tokens_per_s_per_gpu / one.tokens_per_s_per_gpu for one, four in (servers, offlines)
    )
    return [
        Bar("simulate_r1_server_loss_72_to_288", lost_server, ">=", 0.08),
        Bar("simulate_r1_server_loss_72_to_288_at_most", lost_server, "<=", 0.22),
        Bar("simulate_r1_offline_loss_72_to_288", lost_offline, "<=", 0.02),
    ]


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short."""
    options = _options()
    few, many = measured(FEW, options.few), measured(MANY, options.requests)
    for each in (few, many):
        print(
            f"{each.gpus} GPUs: {each.answered} of {each.requests} requests, {each.virtual_s:.0f} s simulated in "
            f"{each.cpu_s:.1f} s of CPU, {each.cpu_us:.0f} µs a request, {each.peak_bytes / 2**20:.0f} MiB",
            flush=True,
        )
    # As many as in the runs: once caches are full, each prompt displaces others, and the dispatcher is told of those.
    alone_us = dispatcher_us(FEW, options.few), dispatcher_us(MANY, options.requests)
    print(f"of that the dispatcher: {alone_us[0]:.0f} and {alone_us[1]:.0f} µs a request", flush=True)
    bars = speed_bars(few, many, options.requests, alone_us)
    figures: dict[str, object] = {"few": asdict(few), "many": asdict(many), "dispatcher_us": alone_us}
    if not options.only_speed:
        offlines = offline(1), offline(4)
        guess = 0.7 * offlines[0].tokens_per_s_per_gpu * 72 / 3886
        one = server(1, options.seconds, guess, lambda text: print(text, flush=True))
        four = server(4, options.seconds, one.per_s, lambda text: print(text, flush=True))
        bars += shape_bars((one, four), offlines)
        figures["server"] = [asdict(one), asdict(four)]
        figures["offline"] = [asdict(each) for each in offlines]
    path = write_result("bench-simulate", figures, bars, versions=our_versions(), directory=options.results)
    print(f"results: {path}")
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
