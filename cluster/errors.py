"""Every exception RackServe raises on purpose.

    RackServeError
    ├── SpecError                 a file that an operator wrote is wrong; carries every problem, each with its path
    ├── ModelSourceError          a model's weights cannot be found, fetched or converted
    ├── ModelShapeError           a model's config.json is wrong, or of a family the planner does not know
    ├── TopologyError             machines, domains and racks contradict each other, or a node is unknown
    ├── EngineError
    │   ├── EngineStartError      an engine did not start
    │   └── EngineDeadError       a running engine has died; its replica must be replaced
    │       └── GangLostError     a node of its gang is gone
    ├── ClusterError              Ray or Ray Serve did not do what was asked
    │   └── ClusterUnreachableError
    ├── UsageRecordsError         records of what tenants have used are missing, or cannot be read or written
    ├── TraceError                a trace of requests cannot be read
    ├── MissingPackageError       an optional package is asked for and not installed
    └── PolicyError               an unknown policy, or one whose telemetry is missing

Refusals of single requests are not exceptions: see `router.outcome`. Adapters map foreign exceptions to these with
`raise ... from`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class RackServeError(Exception):
    """The root: catch this to catch all of RackServe's own errors."""


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One mistake in a file that an operator wrote.

    Attributes:
        path: its place, as keys joined by dots with list positions in brackets: `models[0].replicas.min`.
        message: what is wrong and what would be right.
    """

    path: str
    message: str


class SpecError(RackServeError):
    """A file that an operator wrote cannot be used.

    Attributes:
        source: name of the file, or of whatever else was read.
        problems: every mistake in it, in the file's order; never empty.
    """

    def __init__(self, source: str, problems: Sequence[SpecProblem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = [f"{source}: {len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"]
        lines += [f"  {problem.path or '(top level)'}: {problem.message}" for problem in self.problems]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type["SpecError"], tuple[str, tuple[SpecProblem, ...]]]:
        """Pickle by the constructor's own arguments: Ray carries this error between processes."""
        return type(self), (self.source, self.problems)


class UsageRecordsError(RackServeError):
    """The records of what tenants have used are not where they were looked for, or cannot be read or written."""


class ModelSourceError(RackServeError):
    """A model's weights cannot be found, fetched or converted."""


class ModelShapeError(RackServeError):
    """A model's `config.json` is wrong, or of a family the planner does not know."""


class TopologyError(RackServeError):
    """Machines, domains and racks contradict each other, or a node is unknown."""


class EngineError(RackServeError):
    """An inference engine has failed."""


class EngineStartError(EngineError):
    """An engine did not start."""


class EngineDeadError(EngineError):
    """A running engine has died; its replica must be replaced."""


class GangLostError(EngineDeadError):
    """A node of a replica's gang is gone: the whole gang is torn down and built anew."""


class ClusterError(RackServeError):
    """Ray or Ray Serve did not do what was asked."""


class ClusterUnreachableError(ClusterError):
    """No Ray cluster or gateway answers where one was looked for, or RackServe does not run there."""


class PolicyError(RackServeError):
    """A routing policy is unknown, or the replicas cannot provide the telemetry it needs."""


class TraceError(RackServeError):
    """A trace of requests cannot be read."""


class MissingPackageError(RackServeError):
    """An optional package is asked for and not installed; the message says how to install it."""
