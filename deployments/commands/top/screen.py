"""The screen of `rackserve top`: a line per model, then a line per replica, by rack; readable at 80 columns."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.spec.model_spec import label_of
from deployments.commands.status.speculation_line import is_slower, speculation_line
from deployments.commands.top.reading import Reading, ReplicaReading
from deployments.commands.top.recent import Recent

BAR_CELLS = 8
"""Width of a bar in characters."""
NAME_CHARS = 16
"""Most characters of a model's or a rack's name that are shown."""
LEAST_NAME_CHARS = 5
"""Characters of such a name that are shown however narrow the terminal is."""
FIGURES_CHARS = 34
"""Width of the replicas' columns that are neither ids nor names, blanks between all columns included."""
FIXED_LINES = 6
"""Lines of the screen that are neither a model's nor a replica's."""


def screen(recent: Recent, *, now: str, height: int, width: int) -> RenderableType:
    """Return the screen's content.

    Args:
        recent: the readings of the last seconds.
        now: the time of day.
        height: lines of the terminal; replicas that do not fit are only counted.
        width: columns of the terminal; names are shortened so that ids are whole.
    """
    reading = recent.last
    running = sum(replica.running for replica in reading.replicas.values())
    head = Text.assemble(
        ("rackserve top", "bold"),
        f"  {now}  {reading.gateways} gateway{'' if reading.gateways == 1 else 's'}, ",
        f"{reading.whole_replicas} replicas, {running:.0f} running, {reading.connections:.0f} connections",
    )
    if not reading.gateways:
        head = Text.assemble(("rackserve top", "bold"), f"  {now}  ", ("no gateway answers", "bold red"))
    speculation = _speculation(reading)
    room = max(1, height - FIXED_LINES - len(reading.models) - len(speculation))
    return Group(head, "", _models(recent), *speculation, "", _replicas(recent, room, width))


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", expand=False)
    for title, side in columns:
        table.add_column(title, justify="left" if side == "l" else "right", no_wrap=True)
    return table


def _models(recent: Recent) -> Table:
    table = _table(
        ("MODEL", "l"), ("REPL", "r"), ("REQ/S", "r"), ("FAIL/S", "r"), ("TOK/S", "r"), ("RUN", "r"), ("QUEUE", "r"),
        ("WAIT", "r"), ("TTFB95", "r"), ("HIT", "r"), ("BEST", "r"),
    )  # fmt: skip
    reading = recent.last
    for name, model in sorted(reading.models.items()):
        rates = recent.rates(name)
        replicas = [replica for replica in reading.replicas.values() if replica.model == name]
        # Requests in the engines' own queues wait too.
        queue = model.waiting + sum(replica.waiting for replica in replicas)
        table.add_row(
            Text(_short(name, NAME_CHARS)),
            str(len({replica.replica for replica in replicas if replica.accepting})),
            f"{rates.requests_per_s:.1f}",
            Text(f"{rates.failed_per_s:.1f}", style="red" if rates.failed_per_s else ""),
            _count(sum(_tokens_per_s(replica) for replica in replicas)),
            _count(sum(replica.running for replica in replicas)),
            Text(_count(queue), style="yellow" if model.waiting else ""),
            _seconds(model.expected_wait_s),
            _seconds(rates.first_byte_p95_s),
            _share(model.hit_ratio),
            _share(model.ideal_hit_ratio),
        )
    return table


def _speculation(reading: Reading) -> list[Text]:
    """Return a line for each pool that speculates."""
    return [
        Text(
            speculation_line(_short(label, NAME_CHARS), told),
            style="red" if is_slower(told) else "",
            no_wrap=True,
            overflow="ellipsis",
        )
        for label, told in sorted(reading.speculation.items())
    ]


def _replicas(recent: Recent, room: int, width: int) -> Table:
    table = _table(
        ("RACK", "l"), ("REPLICA", "l"), ("MODEL", "l"), ("RUN", "r"), ("WAIT", "r"), ("KV IN USE", "l"),
        ("TOK/S", "r"),
    )  # fmt: skip
    rows = sorted(recent.last.replicas.items(), key=lambda row: (row[1].domain, row[1].model, row[1].pool, row[0]))
    shown = rows if len(rows) <= room else rows[: room - 1]
    most_id_chars = max(LEAST_NAME_CHARS, width - FIGURES_CHARS - 2 * LEAST_NAME_CHARS)
    id_chars = min(most_id_chars, max((len(replica_id) for replica_id, _ in shown), default=0))
    name_chars = min(NAME_CHARS, max(LEAST_NAME_CHARS, (width - FIGURES_CHARS - id_chars) // 2))
    rack = None
    for replica_id, replica in shown:
        state = "" if replica.accepting else "red"
        place = [Text(_short(replica.domain or "-", name_chars) if replica.domain != rack else "")]
        place += [Text(_short(replica_id, id_chars, keep_end=True), style=state)]
        place += [Text(_short(label_of(replica.model, replica.pool), name_chars))]
        rack = replica.domain
        if replica.reporting:
            load = (_count(replica.running), _count(replica.waiting), _bar(replica.kv_usage))
            table.add_row(*place, *load, _count(_tokens_per_s(replica)))
        else:
            table.add_row(*place, "?", "?", Text("silent", style="red"), "?")
    if len(shown) < len(rows):
        table.add_row("", Text(f"+{len(rows) - len(shown)} more", style="dim"))
    return table


def _tokens_per_s(replica: ReplicaReading) -> float:
    """Return the tokens per second generated now: 0 while idle, for the reported rate is that of busy seconds."""
    return replica.decode_tokens_per_s if replica.running else 0.0


def _bar(share: float) -> Text:
    full = round(min(1.0, share) * BAR_CELLS)
    style = "red" if share > 0.95 else "green"  # noqa: PLR2004 - the alert's threshold
    return Text.assemble(("█" * full, style), "·" * (BAR_CELLS - full), f" {share:4.0%}")


def _short(name: str, chars: int, *, keep_end: bool = False) -> str:
    if len(name) <= chars:
        return name
    return "…" + name[1 - chars :] if keep_end else name[: chars - 1] + "…"


def _count(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size * 10:
            return f"{value / size:.0f}{unit}"
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f}ms" if value < 1 else f"{value:.1f}s" if value < 100 else f"{value:.0f}s"  # noqa: PLR2004


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
