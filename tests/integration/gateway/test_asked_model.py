"""The gateway and the engine mean the same model, and no key finds out about models that it may not use."""

import asyncio
import json
from hashlib import sha256
from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

MODELS = [ModelSpec(name=name, engine="sim", policy="round_robin") for name in ("m", "other", "third")]
KEYS = {name: f"authorization: Bearer {name}\r\n".encode() for name in ("one", "two", "all")}
TENANTS = [
    {"name": "one", "key_sha256": sha256(b"one").hexdigest(), "models": ["m"], "cache_salt": "salt-of-one"},
    {"name": "two", "key_sha256": sha256(b"two").hexdigest(), "models": ["m", "other", "later"]},
    {"name": "all", "key_sha256": sha256(b"all").hexdigest()},
]


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"id":"c1"}'))


def _form(*fields: str) -> bytes:
    parts = "".join(f"--x\r\nContent-Disposition: form-data; {field}\r\n" for field in fields)
    raw = request(f"{parts}--x--\r\n".encode(), path="/v1/audio/transcriptions", headers=KEYS["one"])
    return raw.replace(b"application/json", b"multipart/form-data; boundary=x")


def _error(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str, str]:
    error = json.loads(answer[2])["error"]
    return answer[0], error["code"], error["message"]


async def test_a_model_that_a_key_may_not_use_cannot_be_told_from_one_that_is_not_there() -> None:
    """Both are answered in the same words, which name only what the key may use."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gw:
        said = [
            _error(await ask(gw.port, request(f'{{"model":"{name}"}}'.encode(), headers=KEYS["one"])))
            for name in ("other", "third", "none")
        ]
        assert [(status, code) for status, code, _ in said] == [(403, "forbidden_model")] * 3
        assert {text.replace(name, "?") for (*_, text), name in zip(said, ("other", "third", "none"), strict=True)} == {
            "this API key may not use a model '?'; it may use: m"
        }
        status, code, text = _error(await ask(gw.port, request(b'{"model":"later"}', headers=KEYS["two"])))
        assert (status, code, text) == (
            404, "model_not_found", "the model 'later' does not exist; there are: m, other"
        )  # fmt: skip
        assert _error(await ask(gw.port, request(b'{"model":"none"}', headers=KEYS["all"])))[0] == 404
        assert not replica.received


async def test_a_model_may_be_left_out_where_one_can_be_meant() -> None:
    """Then the engine is told which; where several can be, the error names those that the key may use."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gw:
        for body in (b"{}", b'{"messages":[]}', b'{"model":null}', b'{"model":""}'):
            assert (await ask(gw.port, request(body, headers=KEYS["one"])))[0] == 200
            assert json.loads(replica.received[-1].body)["model"] == "m"
        status, code, text = _error(await ask(gw.port, request(b"{}", headers=KEYS["two"])))
        assert (status, code) == (400, "model_missing")
        assert text.endswith("there are: m, other")
        assert (await ask(gw.port, _form('name="file"; filename="a.wav"\r\n\r\nRIFF')))[0] == 200
        assert b'name="model"\r\n\r\nm\r\n' in replica.received[-1].body


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []}, {}, {"model": "m"}, {"model": "m", "cache_salt": "mine"}, {"cache_salt": "mine"},
        {"model": "m", "messages": [{"cache_salt": "inner"}]},
    ],
)  # fmt: skip
async def test_every_json_body_gets_its_tenants_salt(body: dict[str, Any]) -> None:
    """Whatever the body says, and whether or not it names a model, the engine divides its cache by tenants."""
    one = [ModelSpec(name="m", engine="sim", policy="round_robin")]
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=one, tenants=TENANTS) as gw:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/pooling"):
            raw = request(json.dumps(body, indent=1).encode() + b" \r\n", path=path, headers=KEYS["one"])
            assert (await ask(gw.port, raw))[0] == 200
            own = body.get("cache_salt")
            salt = json.loads(replica.received[-1].body)["cache_salt"]
            assert salt == (f"salt-of-one:{own}" if own else "salt-of-one")


async def test_an_empty_body_gets_model_and_salt_as_well() -> None:
    """A POST without a body leaves nothing to the engine's own defaults either."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gw:
        assert (await ask(gw.port, request(b"", path="/v1/completions", headers=KEYS["one"])))[0] == 200
        assert json.loads(replica.received[-1].body) == {"model": "m", "cache_salt": "salt-of-one"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("model=other", 400),
        ("a=b&%6dodel=other", 400),
        ("model=m&model=other", 400),
        ("model=m", 200),
        ("beta=true", 200),
    ],
)
async def test_the_query_names_no_other_model(query: str, status: int) -> None:
    """Some servers read a model from there, so a key that may not use all models may not say another one in it."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gw:
        path = f"/v1/chat/completions?{query}"
        assert (await ask(gw.port, request(path=path, headers=KEYS["one"])))[0] == status
        assert len(replica.received) == (status == 200)


PLAIN = 'name="model"\r\n\r\nm'
OTHER = 'name="model"\r\n\r\nother'


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([PLAIN], 200), ([OTHER], 403), ([PLAIN, OTHER], 400), ([OTHER, PLAIN], 400),
        ([PLAIN, "name=\"model\"; filename*=utf-8''a\r\n\r\nother"], 400),
        ([PLAIN, 'name="x"; name="model"\r\n\r\nother'], 400),
    ],
)  # fmt: skip
async def test_a_form_means_one_model(fields: list[str], status: int) -> None:
    """A form that an engine could read as naming another model is refused."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gw:
        assert (await ask(gw.port, _form(*fields)))[0] == status
        assert len(replica.received) == (status == 200)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","model":"other"}', b'{"model":"other","model":"m"}', b'{"model":"m","mod\\u0065l":"other"}',
        '{"model":"other"}'.encode("utf-16"), '{"model":"other"}'.encode("utf-32"),
    ],
)  # fmt: skip
async def test_json_means_one_model(body: bytes) -> None:
    """JSON that engines could read as naming another model is refused to a key that may not use all."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], models=MODELS, tenants=TENANTS) as gw:
        assert (await ask(gw.port, request(body, headers=KEYS["one"])))[0] == 400
        assert not replica.received
