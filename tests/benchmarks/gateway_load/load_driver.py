"""The harness's end of a load client process."""

import subprocess
import sys
from types import TracebackType
from typing import Self

import msgspec

from tests.benchmarks.cores import pinned
from tests.benchmarks.load_plan import LoadPlan, LoadSeen
from tests.benchmarks.server_process import ROOT


class LoadDriver:
    """A load client on a core of its own; `run` is synchronous."""

    def __init__(self, core: int) -> None:
        self._process = subprocess.Popen(
            pinned([sys.executable, "-m", "tests.benchmarks.gateway_load.load_client"], core),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def run(self, plan: LoadPlan) -> LoadSeen:
        """Carry out a plan.

        Raises:
            RuntimeError: the client died; its traceback is on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load client ended with {self._process.wait()} during {plan}")
        return msgspec.json.decode(line, type=LoadSeen)
