"""Offloading as far as it runs without a GPU: vLLM's own classes read what we write, and drive our tier of files."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_parts.kv_cache_spec import KvCacheDtype
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.env import engine_arguments
from deployments.engines.vllm.kv.offload_meter import READ_S, OffloadMeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine_contract.offload_world import Tier

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch and its libraries, at their import
]
MODEL = {"name": "m", "source": "s", "kv_cache": {"offload": {"cpu_gb": 4, "disk_gb": 2, "disk_path": "/kv"}}}


@pytest.mark.parametrize("duties", [NO_DUTIES, KvDuties(sends=True)])
def test_vllm_reads_what_we_write(duties: KvDuties) -> None:
    """Its own classes take the configuration, find each connector, and let blocks of hybrid models through."""
    from vllm.config.kv_transfer import KVTransferConfig  # noqa: PLC0415
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory  # noqa: PLC0415
    from vllm.v1.kv_offload.factory import OffloadingSpecFactory  # noqa: PLC0415

    config = engine_arguments(ModelSpec.model_validate(MODEL), {}, cpu=False, duties=duties)["kv_transfer_config"]
    whole = KVTransferConfig(**config)
    assert whole.has_connector("OffloadingConnector")
    assert whole.has_connector("NixlConnector") == bool(duties)
    assert KVConnectorFactory.get_connector_class(whole).__name__ == whole.kv_connector
    parts = whole.kv_connector_extra_config.get("connectors", [config])
    for part in parts:
        assert KVConnectorFactory.supports_hma_config(KVTransferConfig(**part, engine_id="e"))
    extra = parts[-1]["kv_connector_extra_config"]
    assert READ_S in OffloadingSpecFactory.get_spec_cls(extra).build_metric_definitions(extra)


def test_the_precisions_are_vllms() -> None:
    """The file takes those that vLLM 0.32 takes."""
    from vllm.config.cache import CacheDType  # noqa: PLC0415

    assert get_args(KvCacheDtype) == get_args(CacheDType)


@pytest.fixture
def tier(tmp_path: Path) -> "Iterator[Tier]":
    """A tier with room for three blocks."""
    from tests.engine_contract.offload_world import Tier  # noqa: PLC0415 - imports vLLM

    made = Tier(tmp_path, 3)
    yield made
    made.manager.shutdown()


def _files(folder: Path) -> int:
    return len(list(folder.rglob("*.bin")))


def test_files_stay_within_the_bound(tier: "Tier", tmp_path: Path) -> None:
    """Those used longest ago go, a load is a use, and each removal is told after what made it."""
    from tests.engine_contract.offload_world import BLOCK_BYTES, key  # noqa: PLC0415

    assert tier.run([1, 2, 3])
    tier.memory[:] = 0
    assert tier.run([1], load=True)
    assert tier.memory[1].tolist() == [1] * BLOCK_BYTES, "what was stored comes back"
    assert tier.run([4])
    assert tier.events() == [(False, [key(1), key(2), key(3)]), (False, [key(4)]), (True, [key(2)])]
    assert _files(tmp_path) == 3
    assert not tier.run([2], load=True), "the engine computes it"


def test_files_of_an_earlier_life_count(tier: "Tier", tmp_path: Path) -> None:
    """They are loaded again, and a smaller bound takes effect at once."""
    for block in (1, 2, 3):
        assert tier.run([block])
    again = type(tier)(tmp_path, 2)
    try:
        assert _files(tmp_path) == 2
        assert again.run([3], load=True)
        assert not again.run([1], load=True)
    finally:
        again.manager.shutdown()


@pytest.mark.parametrize("of_several", [False, True])
def test_the_time_of_a_fetched_token_is_measured(of_several: bool) -> None:  # noqa: FBT001 - parametrized
    """Ranks load at the same time, files are read before; tokens of another replica's transfer count as no fetch."""
    from tests.engine_contract.offload_world import report  # noqa: PLC0415

    meter = OffloadMeter(1e-3, ranks=4)
    assert meter.stats().s_per_token == pytest.approx(1e-3), "before any, by the bandwidth"
    for _ in range(500):
        meter.take(report(0.4, 0.1, of_several=of_several, host=900, disk=100, external_unspecified=5000))
    assert meter.stats().fetched_tokens == 500_000
    assert meter.stats().s_per_token == pytest.approx((0.4 / 4 + 0.1) / 1000, rel=0.01)


def test_reports_without_transfers_change_nothing() -> None:
    """Most iterations fetch nothing, and an engine without connector figures says none."""
    from vllm.v1.metrics.stats import SchedulerStats  # noqa: PLC0415

    meter = OffloadMeter(1e-3, ranks=1)
    for _ in range(1000):
        meter.take(SchedulerStats())
    assert meter.stats().fetched_tokens == 0
    assert meter.stats().s_per_token == pytest.approx(1e-3)
