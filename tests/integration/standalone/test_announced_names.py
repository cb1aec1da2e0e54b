"""Names that are not ours: whatever a plain server calls its models, they are listed and can be asked for."""

import json
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.standalone.plain_server import PlainServer, chat, gateway_before, listed, names, page, until

NAMES = (
    "/models/Qwen3-8B",
    "./Qwen3-8B",
    "../up",
    "~/llama",
    "_draft",
    "my model",
    " spaced ",
    "llama@v2",
    "a+b",
    "модель",
    "模型",
    "🦙",
    'quo"ted\\back',
    "{curly} [square] %percent% #hash ?query",
    "C:\\models\\q.gguf",
    "-",
    "x" * 512,
)
CARD = {
    "id": "/models/Qwen3-8B",
    "object": "model",
    "created": 1_700_000_000,
    "owned_by": "vllm",
    "root": "/models/Qwen3-8B",
    "parent": None,
    "max_model_len": 40_960,
    "permission": [{"id": "modelperm-1", "object": "model_permission", "allow_sampling": True}],
}


async def test_every_announced_name_is_listed_and_can_be_asked() -> None:
    """Any Unicode of up to 512 characters; the server gets the name as it announced it; metrics stay readable."""
    async with PlainServer(*NAMES) as server, gateway_before(server) as gateway:
        assert await names(gateway) == sorted(NAMES)
        for name in NAMES:
            status, headers, _ = await chat(gateway, name, headers=b"x-rackserve-explain: 1\r\n")
            assert (status, headers["x-rackserve-replica"]) == (200, server.address.name), name
        assert [body["model"] for body in server.answered] == list(NAMES)
        metrics = (await page(gateway, "/metrics", admin=True))[1].decode()
        families = {family.name: family for family in text_string_to_metric_families(metrics)}
        served = {sample.labels["model"] for sample in families["rackserve_requests"].samples}
        assert served >= set(NAMES)
        assert set(json.loads((await page(gateway, "/state", admin=True))[1])["models"]) == set(NAMES)
        assert {row["model"] for row in json.loads((await page(gateway, "/why/", admin=True))[1])} <= set(NAMES)


async def test_names_that_no_header_or_log_can_carry_are_left_out() -> None:
    """Control characters and names beyond the bound are not routed; the others of the same server are."""
    announced = ("new\nline", "tab\t", "nul\0", "x" * 513, "\ud800", "good")
    async with PlainServer(*announced) as server, gateway_before(server) as gateway:
        assert await names(gateway) == ["good"]
        assert (await chat(gateway, "good"))[0] == 200
        assert (await chat(gateway, "tab\t"))[0] == 404


async def test_the_list_has_what_the_server_says_of_its_models() -> None:
    """`root`, `parent`, `max_model_len`, `created`, `permission` and `owned_by` come from the server's own card."""
    async with PlainServer() as server:
        server.models = [CARD, {**CARD, "id": "lora", "parent": "/models/Qwen3-8B", "root": "/adapters/1"}]
        async with gateway_before(server) as gateway:
            rows = {row["id"]: row for row in await listed(gateway)}
            assert rows["/models/Qwen3-8B"] == CARD
            assert rows["lora"]["parent"] == "/models/Qwen3-8B"
            assert rows["lora"]["root"] == "/adapters/1"
            server.models = [{**CARD, "created": 1_800_000_000, "max_model_len": 8192}]

            async def is_shorter() -> bool:
                return [row["max_model_len"] for row in await listed(gateway)] == [8192]

            await until(is_shorter)


async def test_cards_that_vllm_makes_anew_for_each_answer_change_nothing() -> None:
    """VLLM's `created` and `permission` differ in each answer; the list keeps those of the first."""
    async with PlainServer() as server:
        server.models = [CARD]
        async with gateway_before(server) as gateway:
            server.models = [{**CARD, "created": 1_800_000_000}]
            polls = server.polls

            async def is_polled() -> bool:
                return server.polls > polls + 1

            await until(is_polled)
            assert [row["created"] for row in await listed(gateway)] == [CARD["created"]]


async def test_of_several_servers_the_shortest_context_is_told() -> None:
    """What any of them can take: an app that keeps to it is served wherever its request goes."""
    async with PlainServer() as long, PlainServer() as short:
        long.models, short.models = [CARD], [{**CARD, "max_model_len": 8192}]
        async with gateway_before(long, short) as gateway:
            assert [row["max_model_len"] for row in await listed(gateway)] == [8192]


async def test_a_plain_name_can_be_looked_up_by_itself() -> None:
    """GET /v1/models/NAME answers with the model's row."""
    async with PlainServer("a") as server, gateway_before(server) as gateway:
        status, body = await page(gateway, f"/v1/models/{quote('a')}")
        assert (status, json.loads(body)["id"]) == (200, "a")
