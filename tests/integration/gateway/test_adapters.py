"""LoRA adapters through a gateway: real replicas of simulated engines, which tell what they have loaded."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from deployments.telemetry.client import TelemetryClient
from router.http.gateway import Gateway
from router.replicas.adapter_report import AdapterReport
from tests.integration.gateway.running_gateway import ask, request, running_gateway, until

EXPLAIN = b"x-rackserve-explain: 1\r\n"
ADAPTERS = ("sql", "poet", "tutor", "critic")


def _model(*names: str, slots: int = 2) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "base",
            "source": "org/base",
            "engine": "sim",
            "adapters": [{"name": name, "source": f"org/{name}"} for name in names],
            "adapter_slots": slots,
            "sim": {"inter_token_s": 0.001, "adapter_load_s": 0.1},
        }
    )


@dataclass
class Cluster:
    """A gateway, and its replicas."""

    gateway: Gateway
    replicas: Sequence[ReplicaServer]

    async def say(self, model: str, content: str = "hello", *, stream: bool = False) -> tuple[int, str, Any]:
        """Ask for a chat; return status, replica and answer."""
        body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 4, "stream": stream}
        status, headers, answer = await ask(self.gateway.port, request(json.dumps(body).encode(), headers=EXPLAIN))
        return status, headers.get("x-rackserve-replica", ""), answer if stream else json.loads(answer)

    async def page(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return a page of the apps' port, as JSON."""
        return json.loads((await ask(self.gateway.port, f"GET {path} HTTP/1.1\r\nhost: t\r\n\r\n".encode()))[2])

    async def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return the gateway's metrics."""
        text = (await ask(self.gateway.admin_port, b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n"))[2].decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@asynccontextmanager
async def _cluster(model: ModelSpec, replicas: int = 2, tenants: Sequence[object] = ()) -> AsyncIterator[Cluster]:
    servers: list[ReplicaServer] = []
    telemetry: TelemetryClient | None = None
    async with running_gateway([], models=[model], credential="c", tenants=tenants) as gateway:
        try:
            rows = []
            for number in range(replicas):
                engine = engine_for(model)
                servers.append(ReplicaServer(model, engine, replica_id=f"r{number}", host="127.0.0.1", credential="c"))
                rows.append(await servers[-1].start())
            gateway.apply_view(rows)
            heard: dict[str, AdapterReport] = {}

            def hear(replica_id: str, report: AdapterReport) -> None:
                heard[replica_id] = report
                gateway.apply_adapters(replica_id, report)

            telemetry = TelemetryClient("g", "c", gateway.apply_report, gateway.apply_residency, on_adapters=hear)
            telemetry.follow(rows)
            await until(lambda: len(heard) == replicas)
            yield Cluster(gateway, servers)
        finally:
            if telemetry is not None:
                await telemetry.stop()
            for server in servers:
                await server.stop()


async def test_adapters_are_models_to_apps() -> None:
    """Each is listed with its base model as parent, answers under its own name, and in its own words."""
    async with _cluster(_model("sql", "poet")) as cluster:
        rows = {row["id"]: row for row in (await cluster.page("/v1/models"))["data"]}
        assert {name: (row["parent"], row["root"]) for name, row in rows.items()} == {
            "base": (None, "org/base"),
            "sql": ("base", "org/sql"),
            "poet": ("base", "org/poet"),
        }
        assert (await cluster.page("/v1/models/sql"))["parent"] == "base"
        texts = {}
        for model in ("base", "sql", "poet"):
            status, _, answer = await cluster.say(model)
            assert (status, answer["model"]) == (200, model)
            texts[model] = answer["choices"][0]["message"]["content"]
        assert len(set(texts.values())) == 3
        status, _, answer = await cluster.say("prose")
        assert status == 404
        assert "there are: base, poet, sql" in answer["error"]["message"]


async def test_an_adapter_stays_where_it_is_loaded() -> None:
    """Four adapters in two replicas of two slots: each is loaded once, whatever the order in which they are asked."""
    async with _cluster(_model(*ADAPTERS)) as cluster:
        homes: dict[str, set[str]] = {name: set() for name in ADAPTERS}
        for turn in range(5):
            for name in ADAPTERS:
                status, replica, _ = await cluster.say(name, f"question {turn} of {name}")
                assert status == 200
                homes[name].add(replica)
        assert all(len(home) == 1 for home in homes.values()), homes
        await asyncio.sleep(0.3)  # until the gateway has heard of the last one
        table = await cluster.metrics()
        assert sum(value for (name, _), value in table.items() if name == "rackserve_adapter_loads_total") == 4
        assert table["rackserve_adapter_requests_total", (("adapter", "sql"), ("model", "base"))] == 5
        loaded = [value for (name, _), value in table.items() if name == "rackserve_adapters_loaded"]
        assert loaded == [2, 2]


async def test_a_burst_for_one_adapter_loads_it_once() -> None:
    """Requests that come together for an adapter that nobody has go where the first of them loads it."""
    async with _cluster(_model("sql", "poet")) as cluster:
        answers = await asyncio.gather(*(cluster.say("sql", f"question {number}") for number in range(6)))
        assert {status for status, _, _ in answers} == {200}
        assert len({replica for _, replica, _ in answers}) == 1


async def test_prefixes_are_found_by_adapter() -> None:
    """A chat's history is cached for its adapter alone, and the gateway expects no more."""
    async with _cluster(_model("sql", "poet"), replicas=1) as cluster:
        text = "a long system prompt that comes back again and again. " * 30
        cached = []
        for model in ("sql", "sql", "poet", "base"):
            _, _, answer = await cluster.say(model, text)
            cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
            await asyncio.sleep(0.3)  # until the gateway has heard what is cached
        assert [bool(tokens) for tokens in cached] == [False, True, False, False]
        why = await ask(cluster.gateway.admin_port, b"GET /why HTTP/1.1\r\nhost: t\r\n\r\n")
        assert why[0] == 200


async def test_adapters_come_and_go_without_a_failed_request() -> None:
    """Added in the gateway before its replicas: 503 with the reason, then 200; removed: 404; streams go on."""
    async with _cluster(_model("sql")) as cluster:
        both = _model("sql", "poet")
        cluster.gateway.set_models([both])
        status, _, answer = await cluster.say("poet")
        assert status == 503
        assert "the adapter 'poet' cannot be served now: its replicas have not taken it over yet" in str(answer)
        await cluster.replicas[0].set_adapters(both.adapters)

        async def served() -> bool:
            return (await cluster.say("poet"))[0] == 200

        for _ in range(100):
            if await served():
                break
            await asyncio.sleep(0.05)
        status, replica, _ = await cluster.say("poet")
        assert (status, replica) == (200, "r0"), "the other one does not know it"
        assert (await cluster.say("sql"))[0] == 200
        cluster.gateway.set_models([_model("sql")])
        assert (await cluster.say("poet"))[0] == 404
        assert (await cluster.say("sql"))[0] == 200


async def test_tenants_have_adapters_of_their_own() -> None:
    """A key may use an adapter and not its base model, which a body without a model then does not mean."""
    tenants = [{"name": "t", "key_sha256": sha256(b"key").hexdigest(), "models": ["sql"]}]
    async with _cluster(_model("sql", "poet"), tenants=tenants) as cluster:
        key = b"authorization: Bearer key\r\n"

        async def say(body: dict[str, Any]) -> tuple[int, Any]:
            status, _, answer = await ask(cluster.gateway.port, request(json.dumps(body).encode(), headers=key))
            return status, json.loads(answer)

        messages = [{"role": "user", "content": "hi"}]
        for name, right in (("sql", 200), ("poet", 403), ("base", 403)):
            assert (await say({"model": name, "messages": messages}))[0] == right
        status, answer = await say({"messages": messages, "max_tokens": 3})
        assert (status, answer["model"]) == (200, "sql")


async def test_what_cannot_be_served_says_why() -> None:
    """An adapter that every replica failed to load is answered with 503 and the replica's own reason."""
    async with _cluster(_model("sql", "broken"), replicas=1) as cluster:
        problems = {"broken": "source 'org/broken' has rank 64, above the model's `adapter_rank` of 16: raise that"}
        cluster.gateway.apply_adapters("r0", AdapterReport(frozenset({"sql"}), (), 2, problems=problems))
        status, _, answer = await cluster.say("broken")
        assert status == 503
        assert problems["broken"] in answer["error"]["message"]
        assert (await cluster.metrics())["rackserve_adapters_failed", (("model", "base"), ("replica", "r0"))] == 1
