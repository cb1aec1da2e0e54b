"""What a cluster's replica says of its model is what the gateway lists."""

import json

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from router.replicas.start_phases import StartPhases
from tests.integration.gateway.running_gateway import ask, running_gateway


async def test_the_gateway_lists_the_card_of_its_replicas() -> None:
    """`max_model_len`, `created`, `root` and `permission` of /v1/models are the engine's own."""
    model = ModelSpec(name="m", engine="sim")
    replica = ReplicaServer(model, engine_for(model), replica_id="r0", host="127.0.0.1", credential="secret")
    endpoint = await replica.start()
    try:
        async with running_gateway([], models=[model], credential="secret") as gateway:
            gateway.apply_view([endpoint])
            head = b"GET /v1/models HTTP/1.1\r\nhost: t\r\n\r\n"
            _, _, body = await ask(gateway.port, head)
            row = json.loads(body)["data"][0]
            assert endpoint.card is not None
            assert row["max_model_len"] == endpoint.card.max_model_len
            assert row["max_model_len"] > 0
            assert row["created"] > 1_700_000_000
            assert (row["id"], row["root"]) == ("m", endpoint.card.root)
            gateway.apply_view([])
            _, _, body = await ask(gateway.port, head)
            assert json.loads(body)["data"][0]["id"] == "m"
    finally:
        await replica.stop()


async def test_a_replica_tells_what_its_start_went_to() -> None:
    """Its row in the directory has it, from which `rackserve status` tells it."""
    model = ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": {"start_s": 0.05}})
    replica = ReplicaServer(model, engine_for(model), replica_id="r0", host="127.0.0.1", credential="secret")
    endpoint = await replica.start()
    await replica.stop()
    assert endpoint.start == StartPhases(load_s=0.05)
