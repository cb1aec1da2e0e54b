"""Energy of the GPUs in a run, where somebody measures it: NVIDIA's driver here (NVML), or DCGM exporters.

What nobody measures is not told: there is no figure then, and none is estimated.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import httpx

from cluster.errors import ClusterError, MissingPackageError
from deployments.process.direct_http import direct_get

_DCGM: Final = re.compile(r"^DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION(\{[^}]*\})?\s+([0-9.eE+]+)", re.MULTILINE)
"""Millijoules that a GPU has taken since its driver was loaded, a line for each."""
_TIMEOUT_S: Final = 5.0


class EnergyMeter(Protocol):
    """Something that counts joules.

    Attributes:
        source: what it is, in words.
    """

    source: str

    def joules(self) -> dict[str, float]:
        """Return the joules so far, by GPU."""
        ...


class NvmlMeter:
    """Counts the energy of this machine's GPUs by NVIDIA's driver.

    Raises:
        MissingPackageError: `nvidia-ml-py` is not installed.
        ClusterError: there is no driver or no GPU here.
    """

    def __init__(self) -> None:
        try:
            import pynvml  # noqa: PLC0415 - optional
        except ImportError as error:
            raise MissingPackageError("--energy nvml needs NVIDIA's package: pip install nvidia-ml-py") from error
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            raise ClusterError(f"--energy nvml: the driver does not answer here: {error}") from error
        if not self._gpus:
            raise ClusterError("--energy nvml: there is no GPU here")
        self.source = f"NVML, {len(self._gpus)} GPUs of this machine"

    def joules(self) -> dict[str, float]:
        """Return the joules so far, by GPU."""
        found = {}
        for place, gpu in enumerate(self._gpus):
            with suppress(self._nvml.NVMLError):  # a kind that does not count
                found[str(place)] = self._nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3
        return found


class DcgmMeter:
    """Counts the energy of GPUs by the pages of DCGM exporters.

    Args:
        urls: the pages, such as `http://gpu-1:9400/metrics`.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.source = f"DCGM, {', '.join(urls)}"

    def joules(self) -> dict[str, float]:
        """Return the joules so far, by GPU.

        Raises:
            ClusterError: a page cannot be read or has no energy.
        """
        found: dict[str, float] = {}
        for url in self._urls:
            try:
                page = direct_get(url, _TIMEOUT_S)
                page.raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ClusterError(f"--energy {url} cannot be read: {error}") from error
            read = {f"{url} {labels}": float(value) / 1e3 for labels, value in _DCGM.findall(page.text)}
            if not read:
                raise ClusterError(f"--energy {url} has no DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION")
            found |= read
        return found


def meter_of(asked: Sequence[str]) -> EnergyMeter | None:
    """Return what `--energy` names: `nvml`, or DCGM exporters' pages; None: nothing.

    Raises:
        ClusterError: it does not answer, or both kinds are named.
        MissingPackageError: NVML's package is missing.
    """
    if not asked:
        return None
    if "nvml" not in asked:
        return DcgmMeter(asked)
    if len(asked) > 1:
        raise ClusterError("--energy: say nvml, or the pages of DCGM exporters, not both: GPUs would count twice")
    return NvmlMeter()


def taken(meter: EnergyMeter, before: dict[str, float], output_tokens: int) -> dict[str, Any]:
    """Return what was taken since `before`: joules, joules of an output token, GPUs, and who counted.

    GPUs whose counter went back (their driver was loaded anew) are left out, and said to be.
    """
    after = meter.joules()
    spent = {gpu: after[gpu] - joules for gpu, joules in before.items() if after.get(gpu, -1.0) >= joules}
    joules = sum(spent.values())
    return {
        "joules": joules,
        "joules_per_output_token": joules / output_tokens if output_tokens else None,
        "gpus": len(spent),
        "gpus_left_out": len(before) - len(spent),
        "source": meter.source,
    }
