"""How many requests of a model keep its service level objective, and how fast the rest burn, for `rackserve status`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from router.flow_control.attainment import Share

BURNING: Final = 1.0
"""Burn rate above which the objective is missed if it goes on."""


def attainment_of(model: str, states: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return a model's objective with its requests over all gateways; None: it has no objective and no such requests.

    Args:
        model: the model's name.
        states: each gateway's `/state`; None: it does not answer.
    """
    told = [slo for state in states if state and (slo := state["models"].get(model, {}).get("slo"))]
    if not told:
        return None
    windows = {
        name: {key: sum(slo["windows"][name][key] for slo in told) for key in ("requests", "met")}
        for name in told[0]["windows"]
    }
    for counted in windows.values():
        share = Share(counted["requests"], counted["met"])
        counted["in_time"] = counted["met"] / counted["requests"] if counted["requests"] else None
        counted["burn_rate"] = round(share.burn_rate(told[0]["share"]), 3)
    missed: dict[str, int] = {}
    for slo in told:
        for how, count in slo["missed"].items():
            missed[how] = missed.get(how, 0) + count
    return {**{key: told[0][key] for key in ("ttft_s", "tpot_s", "share")}, "windows": windows, "missed": missed}


def attainment_lines(models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each model whose requests were to have some latency.

    Args:
        models: the models of an application in the report of `rackserve status --json`, by name.
    """
    for name, model in models.items():
        slo = model.get("slo")
        if slo is None:
            continue
        aims = [f"{label} {slo[key]:g} s" for key, label in (("ttft_s", "TTFT"), ("tpot_s", "TPOT")) if slo[key]]
        aim = f"{slo['share']:.3g} of requests with {' and '.join(aims) or 'the latencies they ask for'}"
        told = [
            f"{counted['in_time']:.1%} in time in the last {window}, burn rate {counted['burn_rate']:.2g}"
            for window, counted in slo["windows"].items()
            if counted["requests"]
        ]
        yield f"SLO {name}: {aim}: {'; '.join(told) or 'no such request has ended in the last hours'}"
        last = next(iter(slo["windows"].values()))
        if last["burn_rate"] > BURNING:
            why = ", ".join(f"{count} {how}" for how, count in slo["missed"].items() if count)
            yield f"{name} misses its SLO now ({why} so far): see the queues dashboard, or `rackserve why REQUEST_ID`"
