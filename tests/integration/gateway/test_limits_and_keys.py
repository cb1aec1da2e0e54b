"""Tenants' limits as their apps see them, keys that change while the gateway runs, and the access log."""

import asyncio
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from deployments.gateway.tenant_keys import with_keys_read
from deployments.gateway.tenants_watch import TenantsWatch
from router.http.gateway import Gateway
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

USAGE = b'{"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'


def tenant(name: str, *keys: bytes, **more: object) -> dict[str, object]:
    """Return a tenant of the cluster file."""
    return {"name": name, "key_sha256": [sha256(key).hexdigest() for key in keys], **more}


def key(value: bytes) -> bytes:
    """Return the header line with a key."""
    return b"authorization: Bearer %s\r\n" % value


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(USAGE))


async def test_a_tenant_is_told_how_its_limits_stand() -> None:
    """Every answer, a refusal too, has limit, remainder and reset; the refusal says when to ask again."""
    limited = tenant("ann", b"ka", requests_per_minute=60, requests_burst=2)
    free = tenant("bob", b"kb")
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], tenants=[limited, free]) as gateway:
        answers = [await ask(gateway.port, request(headers=key(b"ka"))) for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in answers] == ["1", "0", "0"]
        assert {headers["x-ratelimit-limit-requests"] for _, headers, _ in answers} == {"60"}
        assert 0 < int(answers[2][1]["retry-after-ms"]) <= 1000
        assert answers[2][1]["retry-after"] == "1"
        _, headers, _ = await ask(gateway.port, request(headers=key(b"kb")))
        assert not [name for name in headers if name.startswith("x-ratelimit")]


async def test_both_keys_are_valid_while_they_are_rotated() -> None:
    """A tenant with two keys is one tenant, whichever key its apps use."""
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], tenants=[tenant("ann", b"old", b"new")]) as gateway,
    ):
        assert [(await ask(gateway.port, request(headers=key(each))))[0] for each in (b"old", b"new", b"no")] == [
            200, 200, 401,
        ]  # fmt: skip
        rows = {(row["tenant"], row["outcome"]): row["count"] for row in gateway.state()["outcomes"]}
        assert rows["ann", "ok"] == 2


async def becomes(gateway: Gateway, value: bytes, status: int) -> None:
    """Wait until requests with a key get this status."""
    for _ in range(400):
        if (await ask(gateway.port, request(headers=key(value))))[0] == status:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"requests with the key {value.decode()} do not get {status}")


def reading(folder: Path) -> Callable[[], tuple[tuple[TenantSpec, ...], list[str]]]:
    """Return a reader of one tenant, ann, whose keys are in `folder`/data/key, as a Secret is mounted."""
    file = str(folder / "data" / "key")
    spec = GatewaySpec.model_validate({"tenants": [{"name": "ann", "key_file": file}]})
    return lambda: (with_keys_read(spec).tenants, [file])


async def test_changed_keys_are_taken_over(tmp_path: Path) -> None:
    """A key that is added is let in, one that is gone is not; a file with a mistake changes nothing and is told."""
    for number, keys in enumerate(("old", "old\nnew", "new")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "key").write_text(keys)
    (tmp_path / "data").symlink_to("0")

    def replace_by(number: int) -> None:
        (tmp_path / "next").symlink_to(str(number))
        (tmp_path / "next").replace(tmp_path / "data")  # as the kubelet does it

    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], tenants=[tenant("ann", b"old")]) as gateway,
    ):
        watch = TenantsWatch(gateway, reading(tmp_path))
        watch.start()
        try:
            await becomes(gateway, b"new", 401)
            replace_by(1)
            await becomes(gateway, b"new", 200)
            await becomes(gateway, b"old", 200)
            (tmp_path / "1" / "key").write_text("")
            for _ in range(400):
                if "must hold the API key" in gateway.state()["tenants_problem"]:
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("the empty key file is not told")
            await becomes(gateway, b"old", 200)
            replace_by(2)
            await becomes(gateway, b"old", 401)
            await becomes(gateway, b"new", 200)
            assert gateway.state()["tenants_problem"] == ""
        finally:
            await watch.stop()


async def test_requests_are_logged_without_their_content(tmp_path: Path) -> None:
    """Each request to the API is one line with its outcome and figures; prompts and keys are in none."""
    file = tmp_path / "access.log"
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], tenants=[tenant("ann", b"ka")], access_log=str(file)) as gateway,
    ):
        body = b'{"model":"m","messages":[{"role":"user","content":"a secret"}]}'
        await ask(gateway.port, request(body, headers=key(b"ka") + b"x-request-id: mine\r\n"))
        await ask(gateway.port, request(body, headers=key(b"wrong")))
    served, refused = (json.loads(line) for line in file.read_text().splitlines())
    assert (served["request_id"], served["tenant"], served["model"], served["status"]) == ("mine", "ann", "m", 200)
    assert (served["prompt_tokens"], served["completion_tokens"], served["replica"]) == (7, 3, "r0")
    assert served["duration_ms"] >= served["ttft_ms"] >= served["waited_ms"] >= 0
    assert (refused["status"], refused["outcome"], refused["client"]) == (401, "unauthorized", "127.0.0.1")
    assert "secret" not in file.read_text()
    assert "wrong" not in file.read_text()


async def test_a_gateway_with_an_access_log_that_cannot_be_written_does_not_start(tmp_path: Path) -> None:
    """The reason names the file."""
    with pytest.raises(OSError, match="nowhere"):
        async with running_gateway([], access_log=str(tmp_path / "nowhere" / "log")):
            pass
