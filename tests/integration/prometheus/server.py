"""A real Prometheus that scrapes gateways and evaluates the chart's rules, asked by its own HTTP API."""

import math
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.free_ports import free_port
from tests.integration.cluster.running_application import wait_for
from tests.integration.prometheus.programs import CHART, program

SCRAPE_S = 1


class PrometheusServer:
    """A context manager around one process.

    Args:
        targets: `host:port` of each gateway's admin port.
        folder: where its data goes.
    """

    def __init__(self, targets: Sequence[str], folder: Path) -> None:
        self._config = folder / "prometheus.yaml"
        self._config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "1s"},
                    "rule_files": [str(CHART / "alerts" / "*.yaml")],
                    "scrape_configs": [{"job_name": "gateways", "static_configs": [{"targets": list(targets)}]}],
                }
            )
        )
        self._folder = folder
        self._gateways = len(targets)
        self._url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={self._config}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for("Prometheus", self._is_ready, 60.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30.0)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        try:
            return httpx.get(f"{self._url}/-/ready").is_success
        except httpx.TransportError:
            return False

    def _ask(self, path: str, **params: str) -> Any:  # noqa: ANN401 - whatever that part of the API gives
        answer = httpx.get(f"{self._url}/api/v1/{path}", params=params, timeout=30.0).json()
        assert answer["status"] == "success", (path, params, answer)
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series that has a number now."""
        rows = [(row["metric"], float(row["value"][1])) for row in self._ask("query", query=expression)["result"]]
        return [(labels, value) for labels, value in rows if not math.isnan(value)]

    def number(self, expression: str) -> float:
        """Return the only value of an expression; 0 where it has none."""
        rows = self.query(expression)
        assert len(rows) <= 1, (expression, rows)
        return rows[0][1] if rows else 0.0

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its state."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def next_scrape(self) -> None:
        """Wait until every gateway has been scraped again, and successfully."""
        began_s = time.time()

        def scraped() -> bool:
            rows = self.query("timestamp(up) and up == 1")
            return len(rows) == self._gateways and min(when_s for _, when_s in rows) > began_s

        wait_for("another scrape", scraped, 60.0)
