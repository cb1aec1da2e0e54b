"""What planning and placing cost in CPU time, and how far the cost model is from published results: no Ray, no GPU."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from cluster.foresight.mlperf_rows import PUBLISHED_ROWS, PublishedRow
from cluster.model_shapes.known_models import KNOWN_CONFIGS, known_model
from cluster.placement.gang import Gang
from cluster.placement.placement import Placement
from cluster.placement.topology import Node, Topology
from cluster.planning.plan_file import PLAN_FILE
from cluster.planning.planner import plan
from cluster.replica_cost.cost_model import Steady

Result = TypeVar("Result")

NODES = (10, 100, 1000)
DOMAINS = {"nvl72": 18, "box": 1, "flat": 1_000_000}
"""Nodes in a domain: of a rack, of a box of its own, of one domain for all."""

GANGS = 200
SERVER_TTFT_S, SERVER_TPOT_S = 2.0, 0.08
SERVER_ROWS = {"gb200": 2327.5, "gb300": 2907.3}
"""MLPerf v5.1 DeepSeek-R1 server, tokens/s per GPU, with 99 % of requests within those times."""


@dataclass(frozen=True, slots=True)
class PlacementTime:
    """One placement.

    Attributes:
        domains: how nodes make domains.
        nodes: machines of four GPUs.
        gangs: asked for.
        placed: that found a place.
        cpu_s: for all of them; the best of a few runs.
    """

    domains: str
    nodes: int
    gangs: int
    placed: int
    cpu_s: float


def placement_times(runs: int) -> list[PlacementTime]:
    """Place a gang for every other node, 200 at most."""
    times = []
    for domains, size in DOMAINS.items():
        for nodes in NODES:
            topology = Topology.of(
                Node(f"n{node}", f"d{node // size}", f"r{node // max(18, size)}", 4) for node in range(nodes)
            )
            gangs = gangs_for(min(GANGS, nodes // 2))
            cpu_s, placed = _best_cpu_s(runs, partial(_place_all, topology, gangs))
            times.append(PlacementTime(domains, nodes, len(gangs), placed, cpu_s))
    return times


def _place_all(topology: Topology, gangs: list[Gang]) -> int:
    return len(Placement(topology).place_all(gangs).placed)


def gangs_for(count: int) -> list[Gang]:
    """Return gangs of 1 to 32 GPUs, pipelines among them."""
    return [Gang(f"g{number}", "m", (1, 2, 4)[number % 3], (1, 2, 8)[number % 5 % 3]) for number in range(count)]


def planner_times(runs: int) -> dict[str, dict[str, Any]]:
    """Plan every known model on a rack of GB300, where the choice of layouts is widest."""
    times = {}
    for name in KNOWN_CONFIGS:
        data = {
            "model": name,
            "hardware": "gb300",
            "workload": {"input_tokens": 3000, "output_tokens": 500, "requests_per_s": 50, "prefix_hit": 0.3},
            "slo": {"ttft_s": 2.0, "tpot_s": 0.05},
        }
        question, model = PLAN_FILE.from_data(data, name), known_model(name)
        cpu_s, answer = _best_cpu_s(runs, partial(plan, question, model))
        best = answer.best
        times[name] = {
            "cpu_s": cpu_s,
            "options": len(answer.others) + (1 if best else 0),
            "layout": str(best.layout) if best else None,
            "gpus": best.gpus if best else None,
        }
    return times


def published_errors() -> list[dict[str, Any]]:
    """Hold the cost model against every published offline row."""
    rows = []
    for row in PUBLISHED_ROWS:
        predicted = row.predicted_tokens_per_s_per_gpu
        rows.append(
            {
                "row": f"{row.entry} {row.hardware} {row.model}",
                "published_tokens_per_s_per_gpu": row.tokens_per_s_per_gpu,
                "predicted_tokens_per_s_per_gpu": predicted,
                "error": row.error,
            }
        )
    return rows


def server_errors() -> list[dict[str, Any]]:
    """Hold it against the server rows: limits there bind the slowest percent, the model's times are means."""
    offline = {row.hardware: row for row in PUBLISHED_ROWS if row.model == "deepseek-r1"}
    rows = []
    for hardware, published in SERVER_ROWS.items():
        steady = _within_limits(replace(offline[hardware], max_batch=512, step_tokens=3456, usable_share=0.9))
        predicted = steady.output_tokens_per_s / offline[hardware].layout.gpus
        rows.append(
            {
                "row": f"server {hardware} deepseek-r1",
                "published_tokens_per_s_per_gpu": published,
                "predicted_tokens_per_s_per_gpu": predicted,
                "error": predicted / published - 1,
            }
        )
    return rows


def _within_limits(row: PublishedRow) -> Steady:
    cost = row.cost
    batch = min(row.max_batch, cost.sequences(row.work.mean_context))
    steady = cost.steady(batch, row.work)
    while batch > 1 and (steady.tpot_s > SERVER_TPOT_S or steady.ttft_s > SERVER_TTFT_S):
        batch -= 1
        steady = cost.steady(batch, row.work)
    return steady


def _best_cpu_s(runs: int, work: Callable[[], Result]) -> tuple[float, Result]:
    best_s = float("inf")
    for _ in range(runs):
        started_s = time.process_time()
        result = work()
        best_s = min(best_s, time.process_time() - started_s)
    return best_s, result
