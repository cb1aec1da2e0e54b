"""What a server says of itself decides what it is asked for."""

import json

from tests.integration.gateway.running_gateway import ask, request
from tests.integration.standalone.plain_server import PlainServer, gateway_before


async def test_vllm_alone_is_asked_to_tell_its_usage() -> None:
    """It is known to do so; another server might refuse the field. All names of a server share its connections."""
    async with PlainServer() as server:
        server.models = [{"id": "other", "owned_by": "llamacpp"}, {"id": "m", "owned_by": "vllm"}]
        async with gateway_before(server) as gateway:
            for model in ("other", "m"):
                body: dict[str, object] = {"model": model, "stream": True, "max_tokens": 5, "messages": []}
                assert (await ask(gateway.gateway.port, request(json.dumps(body).encode())))[0] == 200
        asked = {body["model"]: body.get("stream_options") for body in server.answered}
        assert asked == {"other": None, "m": {"include_usage": True, "continuous_usage_stats": True}}
