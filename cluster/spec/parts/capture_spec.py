"""Whether gateways write down what requests they see, and how much of it is kept."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.spec.parts.part import Part


class CaptureSpec(Part):
    """A trace of the requests that gateways see, for `rackserve replay` and `rackserve simulate`.

    It has times, lengths, hashes of prompt chunks (made with the cluster's secret seed), the model's name, and tenants
    as numbers; never text of a prompt or an answer. Nothing is written unless there is a path.

    Attributes:
        path: a folder on each gateway's machine, made where it is missing; each gateway process writes files of its own
            there. "": nothing is captured.
        max_mb: megabytes (10⁶ bytes) after which a process begins another file.
        files: files of all processes that stay in the folder; of more, those written to longest ago are deleted. A file
            that was written to in the last minute stays.
    """

    path: str = ""
    max_mb: Annotated[float, Field(gt=0, le=100_000)] = 64.0
    files: Annotated[int, Field(ge=1, le=10_000)] = 8

    @model_validator(mode="after")
    def _path_is_absolute(self) -> Self:
        if self.path and not self.path.startswith(("/", "~")):
            raise ValueError(f"path is {self.path!r}; it must begin with /: gateways run in folders of their own")
        return self

    def __bool__(self) -> bool:
        """Return whether anything is captured."""
        return bool(self.path)
