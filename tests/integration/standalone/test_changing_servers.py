"""Servers that come and go while the gateway runs: by a file, by calls, and behind one name."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.servers_file import ServerSpec
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_list import ServerList
from deployments.standalone.server_names import ServerNames
from deployments.standalone.servers_page import PATH, ServersPage
from tests.integration.standalone.scripted_server import requests_to, scripted_server


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110 - nothing announces what holds here
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(listed: ServerList) -> AsyncIterator[StandaloneGateway]:
    """Run a gateway in front of the servers of a list, kept up to date."""
    spec = GatewaySpec(host="127.0.0.1", port=0, admin_port=0)
    process = StandaloneGateway(spec, (), policy="round_robin")

    def changed() -> None:
        process.set_servers(listed.addresses())

    process.gateway.operations[PATH] = ServersPage(listed, lambda: process.servers, process.found_rates, changed)
    await listed.look_up()
    changed()
    await process.start()
    watching = asyncio.create_task(listed.keep_up_to_date(changed))
    try:
        yield process
    finally:
        watching.cancel()
        await process.stop(0.0)


async def call(process: StandaloneGateway, method: str, path: str, **sent: object) -> httpx.Response:
    """Call a page on the operators' port."""
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{process.gateway.admin_port}{path}"
        return await client.request(method, url, **sent)  # type: ignore[arg-type]


async def ask(process: StandaloneGateway) -> httpx.Response:
    """Ask model `m` once."""
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{process.gateway.port}/v1/completions"
        return await client.post(url, json={"model": "m", "prompt": "x"})


def names(process: StandaloneGateway) -> list[str]:
    """Return the replicas of model `m`."""
    models = process.gateway.state()["models"]
    return [row["replica_id"] for row in models["m"]["replicas"]] if "m" in models else []


def known(process: StandaloneGateway) -> set[str]:
    """Return the servers."""
    return {server.address.name for server in process.servers}


def problem_of(listed: ServerList) -> str:
    """Return why the servers file is not used."""
    assert listed.file is not None
    return listed.file.problem


async def test_a_servers_file_is_followed(tmp_path: Path) -> None:
    """Servers join and leave with the file, a changed key is used; a file with mistakes changes nothing and is told."""
    file = tmp_path / "servers.yaml"

    def write(*servers: dict[str, object]) -> None:
        file.write_text(json.dumps({"servers": servers}))

    async with scripted_server("m", name="a", key="new") as a, scripted_server("m", name="b") as b:
        at_a, at_b = f"127.0.0.1:{a.port}", f"127.0.0.1:{b.port}"
        write({"url": at_b})
        listed = ServerList(file=file)
        async with running(listed) as process:
            assert (await ask(process)).json()["answered_by"] == "b"
            write({"url": at_b}, {"url": at_a, "key": "old"})
            await eventually(lambda: at_a in known(process))
            write({"url": at_a, "key": "new"})
            await eventually(
                lambda: [a for s in process.servers for a in s.models] == ["m"] and at_b not in known(process)
            )
            await eventually(lambda: process.gateway.readiness().is_ready)
            assert (await ask(process)).json()["answered_by"] == "a"
            file.write_text("servers: [{url: 'ftp://x'}]")
            await eventually(lambda: "servers[0].url" in problem_of(listed))
            assert (await call(process, "GET", "/servers")).json()["problem"] == problem_of(listed)
            assert known(process) == {at_a}
            write()
            await eventually(lambda: not process.servers and not names(process))
            assert (await ask(process)).status_code in {404, 503}


async def test_a_key_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """Keys in files may be rotated without touching the servers file."""
    (tmp_path / "key").write_text("first")
    async with scripted_server("m", key="second") as server:
        file = tmp_path / "servers.yaml"
        file.write_text(
            json.dumps({"servers": [{"url": f"127.0.0.1:{server.port}", "key_file": str(tmp_path / "key")}]})
        )
        async with running(ServerList(file=file)) as process:
            assert (await ask(process)).status_code == 503
            (tmp_path / "key").write_text("second\n")
            await eventually(lambda: process.servers[0].models != {})
            await eventually(lambda: len(names(process)) == 1)
            assert (await ask(process)).status_code == 200


async def test_operators_add_and_take_away_servers_by_calls() -> None:
    """POST adds, DELETE takes away, GET lists without keys; a request that runs on a server taken away is finished."""
    async with scripted_server("m", name="a") as a, scripted_server("m", name="b", key="sk") as b:
        at_a, at_b = f"127.0.0.1:{a.port}", f"127.0.0.1:{b.port}"
        async with running(ServerList([ServerSpec(url=at_a)])) as process:
            added = await call(process, "POST", "/servers", json={"url": at_b, "key": "sk"})
            assert (added.status_code, added.json()) == (201, {"name": at_b})
            await eventually(lambda: len(names(process)) == 2)
            assert {(await ask(process)).json()["answered_by"] for _ in range(4)} == {"a", "b"}
            listed = (await call(process, "GET", "/servers")).json()
            assert {row["name"]: row["models"] for row in listed["servers"]} == {at_a: ["m"], at_b: ["m"]}
            assert "sk" not in json.dumps(listed)
            assert (await call(process, "DELETE", f"/servers/{at_a}")).json() == {"name": at_a}
            await eventually(lambda: names(process) == [at_b])
            assert (await ask(process)).json()["answered_by"] == "b"
            gone = await call(process, "DELETE", "/servers", params={"url": f"http://{at_b}/v1"})
            assert gone.status_code == 200
            await eventually(lambda: not process.servers)


async def test_wrong_calls_are_told_and_pages_of_browsers_are_refused() -> None:
    """All mistakes at once; a server that is not there is 404; a web page cannot reach an operator's gateway."""
    async with scripted_server("m") as server:
        at = f"127.0.0.1:{server.port}"
        async with running(ServerList([ServerSpec(url=at)])) as process:
            wrong = await call(process, "POST", "/servers", json={"url": "ftp://x", "kee": 1})
            assert wrong.status_code == 400
            assert all(words in wrong.text for words in ("servers[0].url", "did you mean 'key'"))
            assert (await call(process, "POST", "/servers", content=b"{")).status_code == 400
            assert (await call(process, "DELETE", "/servers")).status_code == 400
            assert (await call(process, "DELETE", "/servers/10.0.0.1:1")).status_code == 404
            assert (await call(process, "PUT", "/servers", json={})).status_code == 405
            page = await call(process, "POST", "/servers", json={"url": "evil:1"}, headers={"origin": "https://evil"})
            assert page.status_code == 400
            assert known(process) == {at}
            apps = httpx.URL(f"http://127.0.0.1:{process.gateway.port}/servers")
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.post(apps, json={"url": "evil:1"})).status_code == 404


async def test_a_name_with_several_addresses_is_several_servers() -> None:
    """Each address is a server, asked by the name; one that joins or leaves the name is found without a restart."""
    addresses: list[str] = ["127.0.0.1"]

    async def resolve(name: str) -> Sequence[str]:
        assert name == "llm.internal"
        return addresses

    names_here = ServerNames(resolve)
    async with scripted_server("m", name="a") as a, scripted_server("m", name="b", host="127.0.0.2", port=a.port) as b:
        listed = ServerList([ServerSpec(url=f"llm.internal:{a.port}")], names=names_here)
        async with running(listed) as process:
            assert known(process) == {f"llm.internal:{a.port}"}
            addresses.append("127.0.0.2")
            await eventually(lambda: len(names(process)) == 2)
            assert known(process) == {f"llm.internal:{a.port}", f"127.0.0.2:{a.port}"}, "the first stays who it is"
            assert {(await ask(process)).json()["answered_by"] for _ in range(2)} == {"a", "b"}
            assert requests_to(b)[0].header("host") == f"llm.internal:{a.port}"
            addresses.remove("127.0.0.1")
            await eventually(lambda: len(known(process)) == 1)
            assert (await ask(process)).json()["answered_by"] == "b"
