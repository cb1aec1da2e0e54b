"""`rackserve serve` with one real vLLM replica: in short what the rest of this folder shows on two (`long`)."""

import os
import secrets
import signal
import time
from pathlib import Path

import psutil
import pytest
from openai import OpenAI

from tests.e2e.conftest import MODEL, SIM_MODEL, RunningGateway, cluster_file, tracing_to, until
from tests.integration.cluster.command import RACKSERVE, Command
from tests.integration.trace_collector import TraceCollector

pytestmark = [pytest.mark.vllm, pytest.mark.ray, pytest.mark.timeout(600)]

QUESTION = "What is the capital of France?"
PARENT = "b7ad6b7169203331"
READY_S = 300.0


def test_it_answers_notices_its_engines_death_and_leaves_nothing(tmp_path: Path, collector: TraceCollector) -> None:
    """READY, the right answer within its SLO, one trace down to vLLM's span; then SIGKILL to the engine, then SIGTERM.

    A replica whose engine died gets no more requests within seconds, and the command ends well while Serve is
    about to start another one: exit code 0, no process of it left.
    """
    file, ports = cluster_file(tmp_path, replicas=1)
    gateway = RunningGateway(ports["data"], ports["admin"])
    with Command(RACKSERVE, "serve", str(file), env=tracing_to(collector)) as command:
        assert command.wait_for_line("READY ", READY_S) == f"READY {gateway.url}"
        assert f"replicas ready: {MODEL} 1/1" in command.output
        with gateway.client() as client:
            assert {model.id for model in client.models.list()} == {MODEL, SIM_MODEL}
            trace_id = secrets.token_hex(16)
            assert ask(client, trace_id) == "The capital of France is Paris."
        slo = gateway.state()["models"][MODEL]["slo"]
        assert (slo["ttft_s"], slo["tpot_s"], slo["share"]) == (60.0, 5.0, 0.95)
        assert slo["windows"]["1 h"] == {"requests": 1, "met": 1}
        spans = collector.of(trace_id, 3)
        chain = [spans[f"rackserve-{name}"] for name in ("gateway", "replica", "vllm")]
        assert [span.parent_span_id.hex() for span in chain] == [PARENT, *(span.span_id.hex() for span in chain[:-1])]

        os.kill(pid_of_the_engine(command), signal.SIGKILL)
        until(lambda: not gateway.replicas(), 20, "the replica to leave the routing set")
        command.descendants()
        command.send(signal.SIGTERM)
        assert command.wait() == 0, command.output
        assert [name_of(process) for process in command.survivors(15.0)] == []
        assert "Traceback" not in command.output


def ask(client: OpenAI, trace_id: str) -> str:
    """Ask the question as part of a trace."""
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=32,
        extra_headers={"traceparent": f"00-{trace_id}-{PARENT}-01"},
    )
    return answer.choices[0].message.content or ""


def pid_of_the_engine(command: Command) -> int:
    """Return vLLM's one engine process under a command; the failure tells which processes there are.

    A command line may read as empty for a moment; a name that comes without it is cut at 15 characters.
    """
    deadline_s = time.monotonic() + 10.0
    while True:
        names = {process.pid: name_of(process) for process in command.descendants() if process.is_running()}
        engines = [pid for pid, name in names.items() if "VLLM::EngineCo" in name]
        if len(engines) == 1 or time.monotonic() > deadline_s:
            assert len(engines) == 1, names
            return engines[0]
        time.sleep(0.1)


def name_of(process: psutil.Process) -> str:
    """Return how a process calls itself."""
    return " ".join(process.cmdline()) or process.name()
