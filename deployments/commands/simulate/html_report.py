"""The report of simulated runs: one HTML file that needs no other, with the figures, the waits and the picture."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Final

from deployments.commands.simulate.simulated_run import SimulatedRun
from deployments.commands.simulate.tables import WAIT_NAMES, compared

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}img{max-width:100%}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
.bar{display:flex;height:1.4rem;width:100%;min-width:24rem;background:#eee}.bar span{display:block;height:100%}
.key span{display:inline-block;width:.8rem;height:.8rem;margin:0 .3rem 0 1rem}footer{color:#666;margin-top:2rem}
"""
_COLOURS: Final = ("#b5179e", "#f77f00", "#577590", "#43aa8b", "#277da1")


def html_report(title: str, outcomes: Sequence[SimulatedRun], png: bytes, note: str) -> str:
    """Return the report.

    Args:
        title: its title.
        outcomes: the runs.
        png: their picture.
        note: how they were made.
    """
    heads = "".join(f"<th>{escape(outcome.name)}</th>" for outcome in outcomes)
    body = "".join(
        f"<tr><td>{escape(name)}{f' ({escape(unit)})' if unit else ''}</td>"
        + "".join(f"<td>{'-' if value is None else f'{value:,.4g}'}</td>" for value in values)
        + "</tr>"
        for name, values, unit in compared(outcomes)
    )
    image = b64encode(png).decode("ascii")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<h2>Figures</h2><table><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table>"
        f"<h2>What requests waited for until their first token</h2>{_waits(outcomes)}"
        f'<h2>Over time, and how latencies are distributed</h2><img alt="plots" src="data:image/png;base64,{image}">'
        f"{_groups(outcomes)}{_marks(outcomes)}<footer>{escape(note)}</footer></body></html>\n"
    )


def _waits(outcomes: Sequence[SimulatedRun]) -> str:
    key = "".join(
        f'<span style="background:{colour}"></span>{escape(why)}'
        for colour, why in zip(_COLOURS, WAIT_NAMES.values(), strict=True)
    )
    most = max(sum(getattr(each.answer.all.waits, name) for name in WAIT_NAMES) for each in outcomes) or 1.0
    lines = []
    for outcome in outcomes:
        waits = [getattr(outcome.answer.all.waits, name) for name in WAIT_NAMES]
        bars = "".join(
            f'<span style="background:{colour};width:{100 * wait / most:.3f}%" title="{wait * 1e3:.1f} ms"></span>'
            for colour, wait in zip(_COLOURS, waits, strict=True)
        )
        told = ", ".join(f"{wait * 1e3:,.0f}" for wait in waits)
        lines.append(
            f'<tr><td>{escape(outcome.name)}</td><td><div class="bar">{bars}</div></td><td>{told} ms</td></tr>'
        )
    return f'<p class="key">{key}</p><table>{"".join(lines)}</table>'


def _groups(outcomes: Sequence[SimulatedRun]) -> str:
    """Return a table of models and tenants, where there are several."""
    lines = []
    for outcome in outcomes:
        groups = [("model", outcome.answer.models), ("tenant", outcome.answer.tenants)]
        for kind, named in groups:
            if len(named) < 2:  # noqa: PLR2004 - one alone is all
                continue
            for name, each in named.items():
                in_time = "-" if each.in_time is None else f"{each.in_time:.2%}"
                lines.append(
                    f"<tr><td>{escape(outcome.name)}: {kind} {escape(name)}</td><td>{each.requests:,}</td>"
                    f"<td>{each.requests - each.answered:,}</td><td>{in_time}</td><td>{each.ttft_s[1]:.3f}</td>"
                    f"<td>{each.ttft_s[3]:.3f}</td><td>{each.tpot_s[3] * 1e3:.1f}</td></tr>"
                )
    if not lines:
        return ""
    names = "", "requests", "refused", "in time", "TTFT p50 (s)", "p99 (s)", "TPOT p99 (ms)"
    heads = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    return f"<h2>Models and tenants</h2><table>{heads}{''.join(lines)}</table>"


def _marks(outcomes: Sequence[SimulatedRun]) -> str:
    lines = [
        f"<tr><td>{escape(outcome.name)}</td><td>{at_s:,.1f} s</td><td>{escape(what)}</td></tr>"
        for outcome in outcomes
        for at_s, what in outcome.answer.marks[:200]
    ]
    return f"<h2>What happened</h2><table>{''.join(lines)}</table>" if lines else ""
