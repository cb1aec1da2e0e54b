"""Every exception RackServe raises on purpose.

    RackServeError
    ├── SpecError                 the cluster file is wrong; carries every problem found, each with its path
    ├── ModelSourceError          a model's weights cannot be found, fetched or converted
    ├── ModelShapeError           a model's config.json is wrong, or of a family the planner does not know
    ├── TopologyError             machines, domains and racks that cannot be, or a node that is not there
    ├── EngineError
    │   ├── EngineStartError      an engine did not come up
    │   └── EngineDeadError       an engine that ran has died; its replica must be replaced
    │       └── GangLostError     a node of its gang is gone
    ├── ClusterError              Ray or Ray Serve did not do what was asked
    │   └── ClusterUnreachableError
    ├── TraceError                a trace of requests cannot be read
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
    """One thing wrong with a cluster file.

    Attributes:
        path: where, as keys joined by dots with list positions in brackets: `models[0].replicas.min`.
        message: what is wrong and what would be right.
    """

    path: str
    message: str


class SpecError(RackServeError):
    """The cluster file cannot be used.

    Attributes:
        source: the file, or what else the spec was read from.
        problems: everything wrong with it, in the file's order; never empty.
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


class ModelSourceError(RackServeError):
    """A model's weights cannot be found, fetched or converted."""


class ModelShapeError(RackServeError):
    """A model's `config.json` is wrong, or of a family the planner does not know."""


class TopologyError(RackServeError):
    """Machines, domains and racks that cannot be as described, or a node that is not there."""


class EngineError(RackServeError):
    """Something about an inference engine."""


class EngineStartError(EngineError):
    """An engine did not come up."""


class EngineDeadError(EngineError):
    """An engine that ran has died; its replica must be replaced."""


class GangLostError(EngineDeadError):
    """A node of a replica's gang is gone: the gang is torn down whole and built anew."""


class ClusterError(RackServeError):
    """Ray or Ray Serve did not do what was asked."""


class ClusterUnreachableError(ClusterError):
    """There is no Ray cluster, or no RackServe on it, where one was looked for."""


class PolicyError(RackServeError):
    """An unknown routing policy, or one whose telemetry the replicas cannot provide."""


class TraceError(RackServeError):
    """A trace of requests cannot be read."""
