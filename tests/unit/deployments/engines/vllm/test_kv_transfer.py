"""What passing KV blocks on means to vLLM."""

import importlib.util
import json
import socket

import pytest

from cluster.errors import EngineStartError
from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.engine import VllmEngine
from deployments.engines.vllm.env import engine_arguments
from deployments.engines.vllm.kv.transfer import connector_config, side_channel, uses_nixl

SENDS, RECEIVES = KvDuties(sends=True), KvDuties(receives=True)
PRODUCER = {
    "kv_connector": "NixlConnector",
    "kv_role": "kv_producer",
    "kv_load_failure_policy": "recompute",
    "kv_connector_extra_config": {"kv_lease_duration": 30},
}


def test_duties_are_a_connector() -> None:
    """To send is to produce, to receive is to consume; without either no connector is needed."""
    assert connector_config(SENDS, None) == PRODUCER
    assert connector_config(RECEIVES, None) == {**PRODUCER, "kv_role": "kv_consumer"}
    assert connector_config(KvDuties(sends=True, receives=True), None) == {**PRODUCER, "kv_role": "kv_both"}
    assert connector_config(NO_DUTIES, None) is None
    model = ModelSpec(name="m", source="s")
    assert "kv_transfer_config" not in engine_arguments(model, {}, cpu=True)
    assert engine_arguments(model, {}, cpu=True, duties=SENDS)["kv_transfer_config"] == PRODUCER


def test_what_the_user_gives_wins() -> None:
    """Key by key, also of the connector's own settings, and as a mapping or as the text of one."""
    given = {"kv_load_failure_policy": "fail", "kv_connector_extra_config": {"kv_lease_duration": 5, "num_threads": 1}}
    for asked in (given, json.dumps(given)):
        assert connector_config(SENDS, asked) == {**PRODUCER, **given}
    more_threads = connector_config(SENDS, {"kv_connector_extra_config": {"num_threads": 8}})
    assert isinstance(more_threads, dict)
    assert more_threads["kv_connector_extra_config"] == {"kv_lease_duration": 30, "num_threads": 8}
    model = ModelSpec(name="m", source="s", engine_args={"kv-transfer-config": {"kv_role": "kv_both"}})
    found = engine_arguments(model, {}, cpu=True, duties=SENDS)["kv_transfer_config"]
    assert found == {**PRODUCER, "kv_role": "kv_both"}


def test_another_connector_is_left_as_it_is() -> None:
    """Only the role is added: NIXL's settings are not another connector's."""
    mooncake = {"kv_connector": "MooncakeConnector"}
    assert connector_config(RECEIVES, mooncake) == {**mooncake, "kv_role": "kv_consumer"}
    assert not uses_nixl(mooncake)
    assert connector_config(RECEIVES, "{no JSON") == "{no JSON", "vLLM's parser says what is wrong with it"
    assert connector_config(NO_DUTIES, mooncake) == mooncake


def test_each_rank_has_a_port_that_is_free() -> None:
    """At this machine's address, one for each data-parallel rank in a row; UCX is kept to TCP on CPUs alone."""
    found = side_channel("127.0.0.1", 3, cpu=True)
    assert found.pop("UCX_TLS") == "tcp,self"
    assert found.pop("VLLM_NIXL_SIDE_CHANNEL_HOST") == "127.0.0.1"
    port = int(found.pop("VLLM_NIXL_SIDE_CHANNEL_PORT"))
    assert not found
    for rank in range(3):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port + rank))
    assert "UCX_TLS" not in side_channel("127.0.0.1", 1, cpu=False)


@pytest.mark.parametrize("duties", [SENDS, RECEIVES])
async def test_without_nixl_nothing_is_loaded(duties: KvDuties, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails at once, before the model is looked for, and says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    engine = VllmEngine(ModelSpec(name="m", source="/nowhere"), duties=duties)
    with pytest.raises(EngineStartError, match=r"needs the package nixl.*pip install --no-deps nixl"):
        await engine.start()
    await engine.stop()
