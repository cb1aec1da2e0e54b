"""Names the data files that tests and benchmarks want and a clone lacks, where to get them, and what needs them.

`make data` prints it; `python -m tests.data_files --commands` the shell commands alone. Nothing is downloaded here.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
DATA_VARIABLE: Final = "RACKSERVE_DATA"
"""Environment variable with the folder of the data files; unset: `../shared`, beside the clone."""
GITHUB: Final = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file.

    Attributes:
        place: its path inside the data folder.
        what: its title, and its licence.
        url: where it comes from.
        needed_by: the tests and benchmarks that are skipped, wholly or in part, without it.
        converter: module that makes the file from what is at `url`, as `python -m MODULE FROM TO`; "": none is needed.
        sha256: of the content that published figures come from, 64 hex digits; "": other bytes will do.
    """

    place: str
    what: str
    url: str
    needed_by: tuple[str, ...]
    converter: str = ""
    sha256: str = ""

    @property
    def path(self) -> Path:
        """Return where the file is looked for."""
        return data_folder() / self.place

    def found(self) -> Path | None:
        """Return the file's path, or None where it is not there."""
        return self.path if self.path.is_file() else None

    @property
    def commands(self) -> Iterator[str]:
        """Yield the shell commands that get the file, to be run in the clone."""
        path = self.path
        fetched = path.with_name(self.url.rpartition("/")[2]) if self.converter else path
        yield f"curl -fsSL --create-dirs -o {fetched} {self.url}"
        if self.converter:
            yield f".venv/bin/python -m {self.converter} {fetched} {path}"

    @property
    def why_skipped(self) -> str:
        """Return what a test that is skipped for want of the file says."""
        return f"no {self.path}: `make data` says where to get it"


MOONCAKE_TRACE: Final = DataFile(
    place="traces/mooncake_conversation.jsonl",
    what="the Mooncake FAST'25 conversation trace, 12 031 requests (kvcache-ai/Mooncake, Apache-2.0)",
    url=f"{GITHUB}/kvcache-ai/Mooncake/main/FAST25-release/traces/conversation_trace.jsonl",
    needed_by=(
        "make bench-routing: the replay of the trace by every policy",
        "make bench-autoscaling: the load `mooncake`",
        "tests/benchmarks/routing/test_bench_routing.py: the replay, twice with equal figures",
        "tests/unit/deployments/simulator/test_trace_replay.py: the replay's hit ratio, balance and TTFT",
    ),
    sha256="b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
)
RAYSERVICE_SCHEMA: Final = DataFile(
    place="schemas/kuberay-1.7.0-rayservice-v1.schema.json",
    what="KubeRay 1.7.0's RayService CRD as a strict JSON Schema (ray-project/kuberay, Apache-2.0)",
    url=f"{GITHUB}/ray-project/kuberay/v1.7.0/ray-operator/config/crd/bases/ray.io_rayservices.yaml",
    converter="tests.rayservice_schema",
    needed_by=(
        "tests/integration/helm/test_rendering.py: the RayService of each values file against KubeRay's schema",
    ),
)
DATA_FILES: Final = (MOONCAKE_TRACE, RAYSERVICE_SCHEMA)


def data_folder() -> Path:
    """Return the folder of the data files: what `$RACKSERVE_DATA` names, else `../shared` beside the clone."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).resolve() if named else ROOT.parent / "shared"


def report() -> Iterator[str]:
    """Yield lines that say of each file whether it is there, how to get it and what is skipped without it."""
    yield f"Looked for in {data_folder()}; ${DATA_VARIABLE} names another folder. Nothing is downloaded here."
    for file in DATA_FILES:
        yield ""
        yield f"{_state(file)}  {file.place}"
        yield f"    {file.what}"
        if file.found() is None:
            yield "    get it:"
            yield from (f"      {command}" for command in file.commands)
        yield "    without it is skipped:"
        yield from (f"      {each}" for each in file.needed_by)


def _state(file: DataFile) -> str:
    path = file.found()
    if path is None:
        return "missing"
    if file.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        return "there, but its content is not what the published figures come from:"
    return "there"


def commands_for_missing() -> Iterator[str]:
    """Yield the shell commands that get the files that are not there."""
    for file in DATA_FILES:
        if file.found() is None:
            yield from file.commands


if __name__ == "__main__":
    lines = commands_for_missing() if sys.argv[1:] == ["--commands"] else report()
    sys.stdout.writelines(f"{line}\n" for line in lines)
