"""KV blocks beyond GPU memory in vLLM's terms."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import EngineStartError
from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_parts.kv_cache_spec import OffloadSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.engine import VllmEngine
from deployments.engines.vllm.env import engine_arguments, is_cpu_build
from deployments.engines.vllm.kv.offload import SHARED_MEMORY, check_offloading
from deployments.engines.vllm.kv.transfer import uses_nixl

DISK: dict[str, object] = {"cpu_gb": 0.001, "disk_gb": 2, "disk_path": "/kv"}
HOST = {
    "kv_connector": "OffloadingConnector",
    "kv_role": "kv_both",
    "kv_load_failure_policy": "recompute",
    "kv_connector_extra_config": {"cpu_bytes_to_use": 4 * 10**9, "self_describing_kv_events": True},
}
SENDS = KvDuties(sends=True)


def _model(offload: dict[str, object], **more: object) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "source": "s", "kv_cache": {"offload": offload}, **more})


def _config(model: ModelSpec, duties: KvDuties = NO_DUTIES) -> Any:  # noqa: ANN401 - as it is given on
    return engine_arguments(model, {}, cpu=False, duties=duties).get("kv_transfer_config")


def test_host_memory_is_a_connector() -> None:
    """With its bytes, and events that say which blocks it holds; without `offload` there is none."""
    assert _config(_model({"cpu_gb": 4})) == HOST
    assert _config(_model({})) is None


def test_a_disk_is_a_second_tier() -> None:
    """Ours, since vLLM's own has no bound."""
    extra = _config(_model(DISK))["kv_connector_extra_config"]
    assert extra["spec_name"] == "TieringOffloadingSpec"
    (disk,) = extra["secondary_tiers"]
    assert (disk["type"], disk["root_dir"], disk["most_bytes"]) == ("BoundedDiskTier", "/kv", 2 * 10**9)


def test_sizes_are_of_a_replica_whatever_its_ranks() -> None:
    """Each data-parallel rank has a connector of its own, which would take all of them again."""
    extra = _config(_model(DISK, parallel={"data": 2}))["kv_connector_extra_config"]
    assert extra["cpu_bytes_to_use"] == OffloadSpec.model_validate(DISK).cpu_bytes // 2
    assert extra["secondary_tiers"][0]["most_bytes"] == 10**9


@pytest.mark.parametrize(("offload", "name"), [({"cpu_gb": 4}, "HostOffloadingSpec"), (DISK, "HostTieringSpec")])
def test_on_a_cpu_the_copying_is_ours(offload: dict[str, object], name: str) -> None:
    """Named by module, as vLLM takes what is not its own; everything else is as with a GPU."""
    model = _model(offload)
    (there, here) = (
        engine_arguments(model, {}, cpu=cpu)["kv_transfer_config"]["kv_connector_extra_config"] for cpu in (False, True)
    )
    ours = {"spec_name": name, "spec_module_path": "deployments.engines.vllm.cpu.offload"}
    assert here == {**there, **ours}
    check_offloading(engine_arguments(model, {}, cpu=True), OffloadSpec(), NO_DUTIES, cpu=True)
    sends = engine_arguments(model, {}, cpu=True, duties=SENDS)["kv_transfer_config"]
    assert sends["kv_connector_extra_config"]["connectors"][1]["kv_connector_extra_config"] == here


def test_beside_passing_blocks_on_there_are_both() -> None:
    """Another replica's blocks are looked for first; the role and the failure policy are those of NIXL."""
    config = _config(_model({"cpu_gb": 4}), SENDS)
    assert (config["kv_connector"], config["kv_role"]) == ("MultiConnector", "kv_producer")
    assert config["kv_load_failure_policy"] == "recompute"
    nixl, host = config["kv_connector_extra_config"]["connectors"]
    assert nixl == _config(_model({}), SENDS)
    assert host == HOST
    assert uses_nixl(config)
    assert uses_nixl(json.dumps(config))
    assert not uses_nixl(HOST)


def test_what_the_user_gives_wins() -> None:
    """Key by key of the offloading connector's own settings; another connector of theirs is kept beside it."""
    asked = {"kv_connector_extra_config": {"eviction_policy": "arc", "cpu_bytes_to_use": 7}}
    config = _config(_model({"cpu_gb": 4}, engine_args={"kv_transfer_config": asked}))
    assert config["kv_connector_extra_config"] == {
        "cpu_bytes_to_use": 7,
        "self_describing_kv_events": True,
        "eviction_policy": "arc",
    }
    other = {"kv_connector": "MooncakeStoreConnector", "kv_role": "kv_both", "engine_id": "e"}
    both = _config(_model({"cpu_gb": 4}, engine_args={"kv-transfer-config": json.dumps(other)}))
    assert both["engine_id"] == "e", "vLLM takes it once"
    assert both["kv_connector_extra_config"]["connectors"] == [
        {"kv_connector": "MooncakeStoreConnector", "kv_role": "kv_both"},
        HOST,
    ]
    several = {"kv_connector": "MultiConnector", "kv_connector_extra_config": {"connectors": [HOST]}}
    assert _config(_model({"cpu_gb": 9}, engine_args={"kv_transfer_config": several})) == several
    assert _config(_model({"cpu_gb": 9}, engine_args={"kv_offloading_size": 1})) is None
    assert _config(_model({"cpu_gb": 9}, engine_args={"kv_transfer_config": "{no JSON"})) == "{no JSON"


def test_the_precision_is_an_argument() -> None:
    """VLLM's own argument wins over it."""
    model = ModelSpec.model_validate({"name": "m", "source": "s", "kv_cache": {"dtype": "fp8"}})
    assert engine_arguments(model, {}, cpu=False)["kv_cache_dtype"] == "fp8"
    own = model.model_copy(update={"engine_args": {"kv-cache-dtype": "auto"}})
    assert engine_arguments(own, {}, cpu=False)["kv_cache_dtype"] == "auto"
    assert "kv_cache_dtype" not in engine_arguments(_model({}), {}, cpu=False)


@pytest.mark.parametrize(
    "asked",
    [
        {"kv_offloading_size": 1},
        {"kv_transfer_config": HOST},
        {"kv_transfer_config": {"kv_connector": "SimpleCPUOffloadConnector", "kv_role": "kv_both"}},
    ],
)
async def test_on_a_cpu_vllms_own_worker_ends_the_start_at_once(asked: dict[str, Any]) -> None:
    """Before the model is looked for, which is nowhere; what would work is said."""
    if not is_cpu_build():
        pytest.skip("the vLLM here is built for GPUs")
    engine = VllmEngine(ModelSpec.model_validate({"name": "m", "source": "/nowhere", "engine_args": asked}))
    with pytest.raises(EngineStartError, match=r"engine_args: vLLM's worker .* needs a GPU.*kv_cache\.offload"):
        await engine.start()
    await engine.stop()


def test_what_lacks_on_the_machine_is_told(tmp_path: Path) -> None:
    """More host memory than vLLM can share among ranks, a folder that cannot be made, and a loss of the other pools."""
    arguments = {"kv_transfer_config": HOST}
    if Path(SHARED_MEMORY).is_dir():
        with pytest.raises(EngineStartError, match=r"cpu_gb is 900000, but /dev/shm.* GB free"):
            check_offloading(arguments, OffloadSpec(cpu_gb=900_000), NO_DUTIES, cpu=False)
    (tmp_path / "file").touch()
    wrong = OffloadSpec(cpu_gb=0.001, disk_gb=1, disk_path=str(tmp_path / "file" / "folder"))
    with pytest.raises(EngineStartError, match=r"disk_path: .*Not a directory"):
        check_offloading(arguments, wrong, NO_DUTIES, cpu=False)
    right = OffloadSpec(cpu_gb=0.001, disk_gb=1, disk_path=str(tmp_path / "made" / "here"))
    check_offloading(arguments, right, NO_DUTIES, cpu=False)
    assert (tmp_path / "made" / "here").is_dir()
    with pytest.raises(EngineStartError, match=r"kv_offloading_size: .*kv_cache\.offload\.cpu_gb"):
        check_offloading({"kv_offloading_size": 1}, OffloadSpec(), SENDS, cpu=False)
    check_offloading({}, OffloadSpec(), SENDS, cpu=True)
