"""NVIDIA's aiperf sends the requests that `rackserve bench` sends: its file of requests, its run, its figures."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deployments.load.sessions.session import Session
from deployments.models.source import resolve
from tests.benchmarks.load.figures import Figures
from tests.clients.environments import python_of

TOKENIZER: Final = "smollm2-135m-instruct"
_RUN_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class PeerLoad:
    """Requests that both send.

    Attributes:
        sessions: single requests, or conversations without a system prompt.
        at_a_time: how many of them are under way at once; 0: each begins at its time, and has one request.
    """

    sessions: Sequence[Session]
    at_a_time: int

    def write(self, path: Path) -> None:
        """Write them as aiperf reads them, a JSON object a line: texts, lengths, times, and pauses between turns."""
        lines = [self._timed(session) for session in self.sessions]
        if self.at_a_time:
            lines = [{"session_id": str(number), "turns": _turns(each)} for number, each in enumerate(self.sessions)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _timed(self, session: Session) -> dict[str, object]:
        call = session.calls[0]
        return {"text_input": call.text, "output_length": call.output_tokens, "timestamp": session.begins_s * 1e3}


def _turns(session: Session) -> list[dict[str, object]]:
    return [
        {
            "text": call.text,
            "output_length": call.output_tokens,
            **({"delay": call.pause_s * 1e3} if call.pause_s else {}),
        }
        for call in session.calls
    ]


def run_aiperf(url: str, model: str, load: PeerLoad) -> Figures:
    """Send a load; return what aiperf measured.

    Args:
        url: the endpoint.
        model: the model.
        load: the requests.

    Raises:
        RuntimeError: it failed; the message has the end of what it said.
        ClientMissingError: it cannot be installed here.
    """
    aiperf = python_of("aiperf").with_name("aiperf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _cached_tokenizer(folder)
        options = {
            "model": model,
            "url": url,
            "endpoint-type": "chat",
            "tokenizer": f"local/{TOKENIZER}",
            "input-file": str(folder / "requests.jsonl"),
            "custom-dataset-type": "multi_turn" if load.at_a_time else "mooncake_trace",
            "dataset-sampling-strategy": "sequential",
            "artifact-dir": name,
            "ui": "none",
        }
        if load.at_a_time:
            options |= {"concurrency": str(load.at_a_time), "conversation-num": str(len(load.sessions))}
        load.write(folder / "requests.jsonl")
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        words += ["--streaming", "--use-server-token-count", "--use-legacy-max-tokens"]
        words += ["--extra-inputs", "ignore_eos:true", "--extra-inputs", "temperature:0"]
        words += [] if load.at_a_time else ["--fixed-schedule"]
        ended = subprocess.run(
            [aiperf, "profile", *words],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": name, "DO_NOT_TRACK": "1", "PYTHONPATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_RUN_S,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(f"aiperf failed: {ended.stdout.decode(errors='replace')[-3000:]}")
        found = json.loads(next(folder.rglob("profile_export_aiperf.json")).read_text())
    return Figures(
        requests=round(found["request_count"]["avg"]),
        ttft_s=found["time_to_first_token"]["avg"] / 1e3,
        tpot_s=found["inter_token_latency"]["avg"] / 1e3,
        latency_s=found["request_latency"]["avg"] / 1e3,
        requests_per_s=found["request_throughput"]["avg"],
        output_tokens_per_s=found["output_token_throughput"]["avg"],
    )


def _cached_tokenizer(folder: Path) -> None:
    """Make a hub's cache that has the tokenizer: offline it is found there only."""
    cached = folder / "hub" / f"models--local--{TOKENIZER}"
    (cached / "snapshots").mkdir(parents=True)
    (cached / "snapshots" / "here").symlink_to(resolve(TOKENIZER))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("here")
