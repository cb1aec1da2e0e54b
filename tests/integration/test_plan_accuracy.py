"""A replica at half of what its cluster file says was planned, from its steps to the alert's expression."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from deployments.telemetry.client import TelemetryClient
from tests.integration.gateway.running_gateway import ask, request, running_gateway, until
from tests.integration.prometheus.programs import CHART
from tests.integration.prometheus.server import PrometheusServer

METRIC = "rackserve_plan_accuracy_ratio"
HALF = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "sim",
        "sim": {"prefill_tokens_per_s": 40_000, "inter_token_s": 0.01, "inter_token_per_seq_s": 0.0, "start_s": 0.2},
        # 100 tokens a second for each of 2 answers is half of 400; a full step of 8 192 tokens takes twice as long.
        "planned": {
            "prefill_tokens_per_s": 80_000,
            "decode_tokens_per_s": 400,
            "sequences": 2,
            "kv_tokens": 131_072,
            "start_s": 0.1,
        },
    }
)
HALVES = {"prefill": 0.5, "decode": 0.5, "kv_tokens": 1.0, "start": 0.5}


def _body(prompt_tokens: int, answer_tokens: int) -> bytes:
    prompt = f"{answer_tokens} " + "word" * prompt_tokens
    return json.dumps({"model": "m", "prompt": prompt, "max_tokens": answer_tokens, "ignore_eos": True}).encode()


async def test_a_replica_at_half_of_its_plan_is_seen(tmp_path: Path) -> None:
    """Its reports carry it to a gateway's /metrics and /state, and the alert's expression names what is missed."""
    replica = ReplicaServer(HALF, engine_for(HALF), replica_id="r0", host="127.0.0.1", credential="secret")
    endpoint = await replica.start()
    try:
        async with running_gateway([], models=[HALF], credential="secret") as gateway:
            telemetry = TelemetryClient("gateway-under-test", "secret", gateway.apply_report)
            gateway.apply_view([endpoint])
            telemetry.follow([endpoint])
            try:
                bodies = [_body(16_384, 1), _body(20, 150), _body(21, 150)]
                answers = await asyncio.gather(
                    *(ask(gateway.port, request(body, path="/v1/completions")) for body in bodies)
                )
                assert [status for status, _, _ in answers] == [200] * 3
                await until(lambda: gateway.state()["models"]["m"]["replicas"][0]["plan"].keys() == HALVES.keys())
                plan = gateway.state()["models"]["m"]["replicas"][0]["plan"]
                assert plan == {what: pytest.approx(share, rel=0.1) for what, share in HALVES.items()}
                missed = await asyncio.to_thread(_missed, gateway.admin_port, tmp_path)
                assert missed == {what: pytest.approx(plan[what]) for what in ("prefill", "decode", "start")}
            finally:
                await telemetry.stop()
    finally:
        await replica.stop()


def _missed(admin_port: int, folder: Path) -> dict[str, float]:
    """Return what the alert's expression finds at a gateway that a real Prometheus scrapes, by what was promised."""
    rules = yaml.safe_load((CHART / "alerts" / "rackserve.yaml").read_text())
    (expression,) = (
        rule["expr"]
        for group in rules["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "RackServePlanMissed"
    )
    with PrometheusServer([f"127.0.0.1:{admin_port}"], folder) as prometheus:
        prometheus.next_scrape()
        assert len(prometheus.query(METRIC)) == len(HALVES)
        return {labels["what"]: share for labels, share in prometheus.query(expression)}
