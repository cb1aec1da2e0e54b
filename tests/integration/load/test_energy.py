"""Energy of a run: read from DCGM exporters, and never made up."""

import asyncio
import importlib.util
import json

import pytest

from cluster.errors import ClusterError, MissingPackageError
from deployments.load.figures.energy import DcgmMeter, meter_of, taken
from tests.integration.load.streaming_server import StreamingServer
from tests.integration.load.test_bench_command import bench

PAGE = """# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Total energy consumption since boot (in mJ).
DCGM_FI_DEV_POWER_USAGE{{gpu="0"}} 300.5
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="0",UUID="a"}} {first}
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="1",UUID="b"}} {second}
"""


async def test_joules_are_the_counters_difference_and_say_their_source() -> None:
    """Two GPUs take 5 J and 2.5 J; one whose counter went back is left out, and that is said."""
    async with StreamingServer() as server:
        meter = DcgmMeter([f"{server.url}/metrics"])
        server.extra_pages["/metrics"] = PAGE.format(first=1_000_000, second=2_000_000)
        before = await asyncio.to_thread(meter.joules)
        server.extra_pages["/metrics"] = PAGE.format(first=1_005_000, second=2_002_500)
        both = await asyncio.to_thread(taken, meter, before, 10)
        server.extra_pages["/metrics"] = PAGE.format(first=1_005_000, second=100)
        one = await asyncio.to_thread(taken, meter, before, 10)
    assert both["joules"] == pytest.approx(7.5)
    assert both["joules_per_output_token"] == pytest.approx(0.75)
    assert (both["gpus"], both["gpus_left_out"]) == (2, 0)
    assert "DCGM" in both["source"]
    assert one["joules"] == pytest.approx(5.0)
    assert (one["gpus"], one["gpus_left_out"]) == (1, 1)


async def test_a_page_without_energy_is_a_mistake_and_no_zero() -> None:
    """An exporter that counts no energy, or none at all, ends the command before anything is sent."""
    async with StreamingServer() as server:
        server.extra_pages["/metrics"] = "up 1\n"
        with pytest.raises(ClusterError, match="has no DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"):
            await asyncio.to_thread(DcgmMeter([f"{server.url}/metrics"]).joules)
        with pytest.raises(ClusterError, match="cannot be read"):
            await asyncio.to_thread(DcgmMeter([f"{server.url}/none"]).joules)


async def test_the_command_tells_energy_and_where_it_is_from() -> None:
    """`--energy URL` puts joules into the figures; here the counters stand still, which is 0 J by DCGM."""
    async with StreamingServer() as server:
        page = f"{server.url}/metrics"
        server.extra_pages["/metrics"] = PAGE.format(first=5, second=6)
        load = "at_a_time=1,requests=2,prompt_tokens=20,output_tokens=3"
        ended = await asyncio.to_thread(bench, server.url, "--load", load, "--energy", page, "--json")
    energy = json.loads(ended.stdout)["energy"]
    assert energy["joules"] == 0.0
    assert page in energy["source"]


def test_who_measures_is_one() -> None:
    """Nobody is asked: there is no meter. The driver and an exporter together would count GPUs twice."""
    assert meter_of([]) is None
    with pytest.raises(ClusterError, match="not both"):
        meter_of(["nvml", "http://x"])


@pytest.mark.skipif(importlib.util.find_spec("pynvml") is not None, reason="NVIDIA's package is here")
def test_without_nvidias_package_it_says_what_to_install() -> None:
    """The message has the command."""
    with pytest.raises(MissingPackageError, match="pip install nvidia-ml-py"):
        meter_of(["nvml"])
