"""A run as it is kept: what was asked, what came of it, and each request, so that runs can be compared later."""

from pathlib import Path
from typing import Any, Final

import msgspec

from cluster.errors import SpecError, SpecProblem
from deployments.load.client.record import RequestRecord
from deployments.load.figures.measures import LoadFigures, SloLimits, Spread, figures_of

VERSION: Final = 1


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        rackserve_bench: version of this format.
        name: what it is called.
        url: the endpoint.
        model: the model.
        began: date and time, ISO 8601.
        load: what was sent, in words or as the keys of its streams.
        seed: seed of all chance.
        seconds: length of the run.
        is_whole: it was not ended early.
        slo_ttft_s: limit of the time to the first token; None: none.
        slo_tpot_s: limit of the time of a token; None: none.
        prompts: how the lengths of prompts were reached: words of a token, tokens of an empty prompt, who counted.
        client: what the client did to itself.
        energy: joules and where they are from; None: nobody knows.
        mlperf: what LoadGen says; None: it was not used.
        gap_s: seconds between two events with tokens, of all answers together.
        gap_curve_s: what each share of `curve.SHARES` of those did not exceed.
        requests: each request.
    """

    rackserve_bench: int = VERSION
    name: str
    url: str
    model: str
    began: str
    load: Any
    seed: int
    seconds: float
    is_whole: bool
    slo_ttft_s: float | None
    slo_tpot_s: float | None
    prompts: dict[str, Any]
    client: dict[str, Any]
    energy: dict[str, Any] | None = None
    mlperf: dict[str, Any] | None = None
    gap_s: Spread | None = None
    gap_curve_s: tuple[float, ...] = ()
    requests: tuple[RequestRecord, ...] = ()

    @property
    def slo(self) -> SloLimits:
        """What counts as good."""
        return SloLimits(self.slo_ttft_s, self.slo_tpot_s)

    @property
    def measured(self) -> tuple[RequestRecord, ...]:
        """The requests without those of the warm-up."""
        return tuple(record for record in self.requests if not record.is_warm_up)

    def figures(self) -> LoadFigures:
        """Return its figures."""
        return figures_of(self.requests, self.gap_s, self.seconds, self.slo)

    def written(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self) + b"\n"


def read_run(path: Path) -> RunFile:
    """Read a run that was kept.

    Raises:
        SpecError: it cannot be read, or is none.
    """
    try:
        run = msgspec.json.decode(path.read_bytes(), type=RunFile)
    except OSError as error:
        raise SpecError(str(path), [SpecProblem("", f"it cannot be read: {error.strerror or error}")]) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SpecError(str(path), [SpecProblem("", f"it is no run of `rackserve bench --save`: {error}")]) from error
    if run.rackserve_bench != VERSION:
        raise SpecError(str(path), [SpecProblem("rackserve_bench", f"{run.rackserve_bench} is not {VERSION}")])
    return run
