"""Which paths and methods go on to a replica, and what the others are answered."""

import asyncio
import json
from hashlib import sha256

import pytest
from pydantic import ValidationError

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

TWO = [ModelSpec(name=name, engine="sim", policy="round_robin") for name in ("m", "n")]


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"id":"c1"}'))


def _bare(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n".encode()


async def test_unknown_paths_are_404_whatever_the_request_says() -> None:
    """What no engine has is not found, not `model_missing`, and reaches no replica."""
    paths = (
        "/v1/files", "/v1/batches", "/v1/", "/v1", "/v1/conversations", "/v1/fine_tuning/jobs", "/v1/vector_stores",
        "/v1/responses/a/b", "/v1/chat", "/v2/x", "/x", "/openai/deployments/m", "/openai/x",
    )  # fmt: skip
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=TWO) as gateway:
        for path in paths:
            for raw in (_bare("GET", path), _bare("POST", path), request(path=path)):
                status, _, body = await ask(gateway.port, raw)
                assert (status, json.loads(body)["error"]["code"]) == (404, "not_found"), path
        assert not replica.received


async def test_a_wrong_method_is_405_and_says_what_is_right() -> None:
    """`Allow` names the methods (RFC 9110, 15.5.6), and OPTIONS is answered with it."""
    wrong = (
        ("GET", "/v1/chat/completions", "POST"), ("HEAD", "/v1/completions", "POST"),
        ("DELETE", "/v1/embeddings", "POST"), ("PUT", "/rerank", "POST"), ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/m", "GET, HEAD"), ("POST", "/v1/responses/r1", "GET, DELETE"),
        ("GET", "/v1/responses/r1/cancel", "POST"), ("POST", "/health", "GET, HEAD"), ("PATCH", "/", "GET, HEAD"),
        ("GET", "/openai/deployments/m/chat/completions", "POST"), ("GET", "/invocations", "POST"),
    )  # fmt: skip
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=TWO) as gateway:
        for method, path, right in wrong:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(_bare(method, path))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            writer.close()
            assert head.startswith("http/1.1 405 "), (method, path)
            assert f"allow: {right}, options\r\n".lower() in head
            status, headers, _ = await ask(gateway.port, _bare("OPTIONS", path))
            assert (status, headers["allow"]) == (200, f"{right}, OPTIONS")
        assert not replica.received


async def test_options_of_the_server_as_a_whole() -> None:
    """`OPTIONS *`, which monitors and proxies use as a ping, is answered (RFC 9110, 9.3.7); nothing else is at `*`."""
    async with running_gateway([1]) as gateway:
        status, headers, _ = await ask(gateway.port, _bare("OPTIONS", "*"))
        assert (status, "POST" in headers["allow"]) == (200, True)
        assert (await ask(gateway.port, _bare("GET", "*")))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/sleep", "/wake_up", "/pause", "/resume",
        "/reset_prefix_cache", "/start_profile", "/collective_rpc", "/update_weights", "/server_info",
        "/inference/v1/abort_requests", "/scale_elastic_ep", "/fault_tolerance/apply", "/v1//load_lora_adapter/",
        "/%73leep", "/sleep;a=b", "/weight_checker", "/update_weights_from_disk",
    ],
)  # fmt: skip
async def test_management_of_engines_is_refused(path: str) -> None:
    """A key for models gives nobody the engine's switches, and the refusal says so."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        status, _, body = await ask(gateway.port, request(b'{"model":"m","lora_name":"x"}', path=path))
        assert status == 404
        assert "manages an engine" in json.loads(body)["error"]["message"]
        assert not replica.received


@pytest.mark.parametrize(
    "path", ["/v1/..;/sleep", "/v1/%2e%2e/sleep", "/v1/chat\\..\\..\\..\\sleep", "/v1/x/..%3b/../sleep"]
)
async def test_no_path_climbs_to_an_engines_switches(path: str) -> None:
    """Spellings of `..` that some server could take for it are 400 before a path is looked up, and reach no replica."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        status, _, body = await ask(gateway.port, request(path=path))
        assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")
        assert not replica.received


@pytest.mark.parametrize("path", ["/sleep", "/v1/load_lora_adapter", "/fault_tolerance/apply", "/Reset_Prefix_Cache"])
def test_an_engines_switches_cannot_be_named_as_further_paths(path: str) -> None:
    """`gateway.api_paths` opens no way to them: the cluster file is refused, and the refusal says why."""
    with pytest.raises(ValidationError, match="manages an engine"):
        GatewaySpec.model_validate({"api_paths": [path]})


async def test_further_paths_can_be_named() -> None:
    """`gateway.api_paths` passes on what another engine has."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], api_paths=["/v1/audio/speech"]) as gw:
        assert (await ask(gw.port, request(path="/v1/audio/speech")))[0] == 200
        assert (await ask(gw.port, request(path="/v1/audio/speeches")))[0] == 404
        assert len(replica.received) == 1


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200), ("Application/JSON; charset=UTF-8", 200), ("application/vnd.api+json", 200),
        ("application/x-www-form-urlencoded", 415), ("text/plain", 415), ("application/json; charset=utf-16", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)  # fmt: skip
async def test_a_body_must_be_what_its_path_takes(kind: str, status: int) -> None:
    """JSON that calls itself something else could be read as that by an engine."""
    raw = request().replace(b"application/json", kind.encode())
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, raw))[0] == status
        raw = request(path="/v1/audio/transcriptions")
        assert (await ask(gateway.port, raw))[0] == 415
        assert len(replica.received) == (status == 200)


async def test_azures_paths_are_openais() -> None:
    """The deployment is the model, which the engine then finds in the body, and the key is in `api-key`."""
    tenants = [{"name": "t", "key_sha256": sha256(b"k").hexdigest(), "models": ["m"]}]
    key = b"api-key: k\r\n"
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=TWO, tenants=tenants) as gateway:
        path = "/openai/deployments/m/chat/completions?api-version=2024-10-21"
        for body in (b'{"messages":[]}', b'{"model":"gpt-4o"}', b'{"model":"m"}', b"{}"):
            assert (await ask(gateway.port, request(body, path=path, headers=key)))[0] == 200
            assert json.loads(replica.received[-1].body)["model"] == "m"
            assert replica.received[-1].head.startswith(b"POST /v1/chat/completions HTTP")
        for answer in (
            await ask(gateway.port, request(path=path.replace("/m/", "/n/"), headers=key)),
            await ask(gateway.port, request(path=path.replace("/m/", "/none/"), headers=key)),
        ):
            assert answer[0] == 403
        assert (await ask(gateway.port, request(path=path, headers=b"api-key: wrong\r\n")))[0] == 401
        status, _, body = await ask(
            gateway.port, b"GET /openai/models?api-version=x HTTP/1.1\r\nhost: t\r\n%s\r\n" % key
        )
        assert (status, [row["id"] for row in json.loads(body)["data"]]) == (200, ["m"])
        assert len(replica.received) == 4


@pytest.mark.parametrize(
    ("members", "means"),
    [
        ({"messages": [{"role": "user", "content": "hello " * 300}]}, "/v1/chat/completions"),
        ({"prompt": "hello " * 300}, "/v1/completions"),
        ({"input": "hello " * 300}, "/v1/embeddings"),
        ({"query": "a", "documents": ["b"]}, "/invocations"),
    ],
)
async def test_sagemakers_path_means_what_the_body_is(members: dict[str, object], means: str) -> None:
    """It reaches the replica as it came, is routed by its prompt as the API's own path is, and salted."""
    tenants = [{"name": "t", "key_sha256": sha256(b"k").hexdigest(), "cache_salt": "s"}]
    model = ModelSpec(name="m", engine="sim", policy="expected_ttft")
    headers = b"authorization: Bearer k\r\nx-rackserve-explain: 1\r\n"
    body = json.dumps({"model": "m", **members}).encode()
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], models=[model], tenants=tenants) as gateway,
    ):
        asked = [await ask(gateway.port, request(body, path=path, headers=headers)) for path in ("/invocations", means)]
        assert [status for status, _, _ in asked] == [200, 200]
        matched = [int(headers["x-rackserve-matched-chars"]) for _, headers, _ in asked]
        assert (matched[0], matched[1] > 1000) == (0, means != "/invocations")
        assert replica.received[0].head.startswith(b"POST /invocations HTTP/1.1\r\n")
        assert json.loads(replica.received[0].body) == {"model": "m", **members, "cache_salt": "s"}
        status, _, said = await ask(gateway.port, request(b"{", path="/invocations", headers=headers))
        assert (status, json.loads(said)["error"]["code"]) == (400, "invalid_json")
