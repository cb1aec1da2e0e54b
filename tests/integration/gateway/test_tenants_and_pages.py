"""Who may ask what, and the pages about the gateway itself."""

import asyncio
import json
from hashlib import sha256

from prometheus_client.parser import text_string_to_metric_families

from cluster.spec.model_spec import ModelSpec
from router.http.gateway import Gateway
from tests.integration.gateway.running_gateway import ask, read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

MODELS = [ModelSpec(name=name, engine="sim", policy="round_robin") for name in ("m", "org/secret")]
TENANTS = [
    {"name": "acme", "key_sha256": sha256(b"sk-acme").hexdigest(), "models": ["m"]},
    {"name": "root", "key_sha256": sha256(b"sk-root").hexdigest()},
]


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'"fine"'))


def _get(path: str, headers: bytes = b"") -> bytes:
    return b"GET %s HTTP/1.1\r\nhost: t\r\n%s\r\n" % (path.encode(), headers)


async def _models(gateway: Gateway, key: str) -> list[str]:
    _, _, body = await ask(gateway.port, _get("/v1/models", b"authorization: Bearer %s\r\n" % key.encode()))
    return [row["id"] for row in json.loads(body)["data"]]


async def test_without_a_known_key_nothing_is_served() -> None:
    """A missing or wrong key gets 401 and reaches no replica; health needs no key."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], tenants=TENANTS) as gateway:
        for headers in (b"", b"authorization: Bearer wrong\r\n", b"authorization: Basic sk-acme\r\n"):
            status, answer_headers, body = await ask(gateway.port, request(headers=headers))
            assert (status, json.loads(body)["error"]["code"]) == (401, "unauthorized")
            assert answer_headers["www-authenticate"] == "Bearer"
        assert not replica.received
        assert (await ask(gateway.port, _get("/health")))[0] == 200


async def test_a_tenant_sees_and_uses_its_models_only() -> None:
    """Models of others are not listed and may not be used; the key never reaches the replica."""
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gateway,
    ):
        assert await _models(gateway, "sk-acme") == ["m"]
        assert await _models(gateway, "sk-root") == ["m", "org/secret"]
        key = b"authorization: bearer sk-acme\r\n"
        assert (await ask(gateway.port, request(headers=key)))[0] == 200
        assert (await ask(gateway.port, request(headers=b"x-api-key: sk-acme\r\n")))[0] == 200
        beside_nothing = b"authorization: Bearer \r\nx-api-key: sk-acme\r\n"
        assert (await ask(gateway.port, request(headers=beside_nothing)))[0] == 200
        assert (await ask(gateway.port, request(headers=b"api-key: sk-acme\r\n")))[0] == 200
        status, _, body = await ask(gateway.port, request(b'{"model":"org/secret"}', headers=key))
        assert (status, json.loads(body)["error"]["code"]) == (403, "forbidden_model")
        assert all(b"sk-acme" not in seen.head for seen in replica.received)
        assert (await ask(gateway.port, _get("/v1/models/org/secret", key)))[0] == 404
        rows = {(row["tenant"], row["outcome"]): row["count"] for row in gateway.state()["outcomes"]}
        assert rows[("acme", "ok")] == 4


async def test_metrics_count_what_happened() -> None:
    """The numbers at /metrics are the client's own; unknown models do not add labels."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS) as gateway:
        for _ in range(3):
            await ask(gateway.port, request())
        for number in range(5):
            await ask(gateway.port, request(b'{"model":"nope%d"}' % number))
        _, _, body = await ask(gateway.admin_port, _get("/metrics"))
        samples = {
            (sample.name, sample.labels.get("model"), sample.labels.get("outcome")): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }
        assert samples["rackserve_requests_total", "m", "ok"] == 3
        assert samples["rackserve_requests_total", "", "model_not_found"] == 5
        assert samples["rackserve_time_to_first_byte_seconds_count", "m", None] == 3
        assert samples["rackserve_request_body_bytes_total", "m", None] == 3 * len(b'{"model":"m"}')
        assert not any("nope" in str(key) for key in samples)


async def test_ready_says_what_is_missing() -> None:
    """Readiness needs the directory's word and a replica of every model."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS) as gateway:
        status, _, body = await ask(gateway.admin_port, _get("/ready"))
        assert status == 503
        assert "org/secret" in json.loads(body)["reason"]
        assert (await ask(gateway.port, _get("/ready")))[0] == 503
        gateway.set_models(MODELS[:1])
        assert (await ask(gateway.port, _get("/ready")))[0] == 200


async def test_the_apps_port_tells_strangers_nothing() -> None:
    """No page without a key names tenants, models or what they use; /ready says no more than yes or no."""
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gateway,
    ):
        await ask(gateway.port, request(headers=b"authorization: Bearer sk-acme\r\n"))
        right = {
            "/": 200, "/docs": 200, "/health": 200, "/ping": 200, "/version": 200, "/ready": 503, "/favicon.ico": 404,
            "/metrics": 404, "/state": 404, "/why/": 404, "/openapi.json": 404, "/v1/models": 401, "/v1/models/m": 401,
        }  # fmt: skip
        for path, status in right.items():
            seen, _, body = await ask(gateway.port, _get(path))
            assert (path, seen) == (path, status)
            assert not [word for word in (b"acme", b"root", b"org/secret", b"r0") if word in body], path
        assert (await ask(gateway.port, _get("/ready")))[2] == b'{"ready":false}'


async def test_the_front_page_says_how_to_ask() -> None:
    """A browser gets a page, a terminal text: the address that it came to and, in open access, the models."""
    async with running_gateway([], models=MODELS) as gateway:
        for accept, kind in ((b"accept: text/html,*/*\r\n", "text/html"), (b"", "text/plain")):
            raw = _get("/", accept).replace(b"host: t", b"host: <b>llm.example")
            status, headers, body = await ask(gateway.port, raw)
            assert (status, headers["content-type"]) == (200, f"{kind}; charset=utf-8")
            assert b"llm.example/v1" in body
            assert b"org/secret" in body
            assert (b"<b>" in body) == (kind == "text/plain"), "what a client says of itself is escaped"
        assert "version" in json.loads((await ask(gateway.port, _get("/version")))[2])


async def test_models_are_found_by_their_encoded_name() -> None:
    """SDKs send `org%2Fsecret` for org/secret."""
    async with running_gateway([], models=MODELS) as gateway:
        for path in ("/v1/models/org/secret", "/v1/models/org%2Fsecret", "/v1/models/%6Frg%2fsecret"):
            status, _, body = await ask(gateway.port, _get(path))
            assert (status, json.loads(body)["id"]) == (200, "org/secret")
        assert (await ask(gateway.port, _get("/v1/models/org%2Fnone")))[0] == 404


async def test_anthropics_sdk_gets_its_own_list() -> None:
    """With its version header the list and each entry have Anthropic's shape."""
    async with running_gateway([], models=MODELS) as gateway:
        version = b"anthropic-version: 2023-06-01\r\n"
        page = json.loads((await ask(gateway.port, _get("/v1/models", version)))[2])
        assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "m", "org/secret")
        assert [(row["type"], row["id"]) for row in page["data"]] == [("model", "m"), ("model", "org/secret")]
        assert json.loads((await ask(gateway.port, _get("/v1/models/m", version)))[2]) == page["data"][0]
        assert set(page["data"][0]) == {"type", "id", "display_name", "created_at"}


async def test_state_is_for_operators() -> None:
    """The admin port shows each replica and what runs there."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        await ask(gateway.port, request())
        state = json.loads((await ask(gateway.admin_port, _get("/state")))[2])
        row = state["models"]["m"]["replicas"][0]
        assert (row["replica_id"], row["sent"], row["in_flight"]) == ("r0", 1, 0)


async def test_explain_names_the_replica() -> None:
    """Who asks for it is told which replica answered, nobody else."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        _, headers, _ = await ask(gateway.port, request(headers=b"x-rackserve-explain: 1\r\n"))
        assert (headers["x-rackserve-replica"], headers["x-rackserve-policy"]) == ("r0", "round_robin")
        assert "x-rackserve-replica" not in (await ask(gateway.port, request()))[1]


async def test_head_requests_get_no_body() -> None:
    """HEAD answers like GET, without the body."""
    async with running_gateway([]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"HEAD /health HTTP/1.1\r\nhost: t\r\n\r\nGET /health HTTP/1.1\r\nhost: t\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 15" in head
        assert (await read_response(reader))[2] == b'{"status":"ok"}'
        writer.close()


async def test_a_tenants_salt_reaches_the_engine_and_divides_prefixes() -> None:
    """The engine gets the tenant's `cache_salt` whatever the client says, and no prefix of another tenant matches."""
    salted = [
        {"name": name, "key_sha256": sha256(f"sk-{name}".encode()).hexdigest(), "cache_salt": name} for name in "ab"
    ]
    model = ModelSpec(name="m", engine="sim", policy="expected_ttft")
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], models=[model], tenants=salted) as gateway,
    ):
        content = "the same words " * 100
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
        own = body[:-1] + b',"cache_salt":"mine"} '
        matched = []
        for key, sent in (("a", body), ("a", body), ("b", body), ("b", own)):
            headers = f"authorization: Bearer sk-{key}\r\nx-rackserve-explain: 1\r\n".encode()
            matched.append(
                int((await ask(gateway.port, request(sent, headers=headers)))[1]["x-rackserve-matched-chars"])
            )
        assert [count > 1000 for count in matched] == [False, True, False, False]
        assert [json.loads(seen.body)["cache_salt"] for seen in replica.received] == ["a", "a", "b", "b:mine"]


async def test_no_request_can_bring_the_salt_of_another_tenant() -> None:
    """A tenant without a salt cannot imitate one that has one, nor see what its prompts have left in the cache."""
    names = {"a": "a", "b": "b", "free": ""}
    tenants = [
        {"name": name, "key_sha256": sha256(f"sk-{name}".encode()).hexdigest(), "cache_salt": salt}
        for name, salt in names.items()
    ]
    model = ModelSpec(name="m", engine="sim", policy="expected_ttft")
    body = {"model": "m", "messages": [{"role": "user", "content": "the same words " * 100}]}
    asked = [("a", None), ("free", "a"), ("a", "b:c"), ("free", "a:b:c"), ("b", "a"), ("free", "b:a"), ("free", None)]
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], models=[model], tenants=tenants) as gateway,
    ):
        for name, salt in asked:
            own = {"cache_salt": salt} if salt is not None else {}
            headers = f"authorization: Bearer sk-{name}\r\nx-rackserve-explain: 1\r\n".encode()
            answer = await ask(gateway.port, request(json.dumps(body | own).encode(), headers=headers))
            assert answer[1]["x-rackserve-matched-chars"] == "0", (name, salt)
        salts = [json.loads(seen.body).get("cache_salt") for seen in replica.received]
        assert len(set(salts)) == len(asked)
        assert salts == ["a", ":a", "a:b:c", ":a:b:c", "b:a", ":b:a", None]
