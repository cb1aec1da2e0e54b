"""The twin beside the cluster that it is of: chats with three real vLLM replicas: part of `make bench-foresight`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

import uvloop

import deployments.ray_api as ray_api
from deployments.cost_fit.page import put_into
from deployments.directory.client import view_now
from deployments.load.client.calibration import prompt_scale
from deployments.load.client.connection import Address, ConnectionPool
from deployments.load.client.endpoint import LoadEndpoint
from deployments.load.sessions.texts import Texts
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.foresight.calibration import Calibration, EngineSpeed, mean_speed
from tests.benchmarks.foresight.conversations import ChatFigures, TemplateTexts, chats, foreseen, sent
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.result_file import RESULTS, describe_machine, our_versions, write_result
from tests.benchmarks.routing.gateways import POLICY
from tests.benchmarks.routing.routed_cluster import CLUSTER_NAME, routed_cluster
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.benchmarks.token_streams import Target

WITHIN: Final = 0.15
SCALE_SEED: Final = 1_000_003
"""Prompts with which the engines are measured have seeds from here on; loads have those from 0."""


@dataclass(frozen=True, slots=True)
class Round:
    """One load, sent and foreseen.

    Attributes:
        measured: what the cluster did.
        twin: what the twin says, with the mean of the two calibrations.
        before: how fast the engines were before the load.
        after: how fast they were after it.
    """

    measured: ChatFigures
    twin: ChatFigures
    before: EngineSpeed
    after: EngineSpeed


async def rounds_on(gateway: Target, replicas: Sequence[Target], rounds: int, requests: int) -> list[Round]:
    """Send loads to a cluster and have its twin foresee them.

    The engines are measured before and after each load, with prompts of its own; the twin never sees the load's times.
    """
    pools = [ConnectionPool(Address(each.host, each.port, key=each.bearer)) for each in (gateway, *replicas)]
    endpoints = [LoadEndpoint(pool, MODEL) for pool in pools]
    spec, found = chats(requests), list[Round]()
    try:
        scale = await prompt_scale(endpoints[0], SCALE_SEED)
        calibration = Calibration(endpoints[0], endpoints[1:], Texts(scale.words_per_token, SCALE_SEED))
        template = await calibration.template_tokens()
        await sent(endpoints[0], chats(18), 999, Texts(scale.words_per_token, 999))  # every part runs once
        before = await calibration.measured()
        for number in range(rounds):
            texts = TemplateTexts(scale.words_per_token, number, template)
            measured = await sent(endpoints[0], spec, number, texts)
            after = await calibration.measured()
            twin = foreseen(spec, number, mean_speed((before, after)))
            found.append(Round(measured, twin, before, after))
            print(
                f"round {number + 1} of {rounds}: measured {measured}\n  foreseen {twin}\n  by {before}, {after}",
                flush=True,
            )
            before = after
    finally:
        for pool in pools:
            pool.close()
    return found


def off(found: Sequence[Round]) -> dict[str, float]:
    """Return by how much the twin is off, as a share of what was measured, of the rounds together."""
    return {
        name: fmean(getattr(each.twin, name) for each in found) / fmean(getattr(each.measured, name) for each in found)
        - 1
        for name in ("ttft_s", "tokens_per_s")
    }


def bars(found: Sequence[Round]) -> list[Bar]:
    """Return the bars."""
    missed = off(found)
    return [
        Bar("foresight_cluster_mean_ttft_off", abs(missed["ttft_s"]), "<=", WITHIN),
        Bar("foresight_cluster_tokens_per_s_off", abs(missed["tokens_per_s"]), "<=", WITHIN),
    ]


def page(found: Sequence[Round]) -> list[str]:
    """Return the lines of the scorecard."""
    lines = [
        f"{describe_machine()['cpu']}, {len(found)} loads:",
        "",
        "| load | requests | mean TTFT, s: real, twin | tokens/s: real, twin | cached: real, twin |",
        "|---|---|---|---|---|",
    ]
    for number, each in enumerate(found, start=1):
        real, twin = each.measured, each.twin
        lines.append(
            f"| {number} | {real.requests} | {real.ttft_s:.3f}, {twin.ttft_s:.3f} | {real.tokens_per_s:.1f}, "
            f"{twin.tokens_per_s:.1f} | {real.cached_share:.2f}, {twin.cached_share:.2f} |"
        )
    missed = off(found)
    return [
        *lines,
        "",
        f"Together: mean TTFT {missed['ttft_s']:+.1%}, tokens/s {missed['tokens_per_s']:+.1%} (bars: ±15 %).",
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="loads")
    parser.add_argument("--requests", type=int, default=150, help="requests of each")
    parser.add_argument("--into", type=Path, help="a page with both marks; what lies between is replaced")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short."""
    options = _options()
    unwind_on_sigterm()
    with routed_cluster(POLICY, lambda _progress: None) as gateway:
        credential = ray_api.shared_secret(CLUSTER_NAME)
        replicas = [Target(each.host, each.http_port, credential, MODEL) for each in view_now(CLUSTER_NAME).replicas]
        found = uvloop.run(rounds_on(gateway, replicas, options.rounds, options.requests))
    held = bars(found)
    path = write_result(
        "bench-foresight", {"rounds": [asdict(each) for each in found]}, held, versions=our_versions(),
        directory=options.results,
    )  # fmt: skip
    if options.into:
        put_into(options.into, "twin", page(found))
    print(f"results: {path}")
    return report_bars(held)


if __name__ == "__main__":
    sys.exit(main())
