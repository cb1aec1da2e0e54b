"""LoRA adapters in vLLM: registered without a restart, loaded by vLLM when a request asks for one."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from cluster.autoscaling.ewma import Ewma
from cluster.errors import ModelSourceError
from cluster.spec.model_parts.adapter_spec import AdapterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.models.adapter_source import adapter_folder
from router.replicas.adapter_report import AdapterReport

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.utils.counter import AtomicCounter

_log = structlog.get_logger("rackserve.replica")

RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM 0.32 takes for the highest rank (`MaxLoRARanks` of vllm/config/lora.py)."""
KEEP: Final = 0.9
"""Share of the past that each load leaves in the mean of their times: in effect the last ten count."""


def adapter_arguments(model: ModelSpec) -> dict[str, Any]:
    """Return vLLM's arguments for the room that a model has for adapters; empty: it has none."""
    if not model.adapter_room:
        return {}
    rank = next(rank for rank in RANKS if rank >= model.adapter_rank)
    return {"enable_lora": True, "max_loras": model.adapter_room, "max_lora_rank": rank}


class LoraEngine(Protocol):
    """The part of vLLM's engine client that loads adapters."""

    async def add_lora(self, lora_request: "LoRARequest", /) -> bool:
        """Load an adapter; raises what the engine's process says of one that cannot be loaded."""
        ...


class ServedAdapters(Protocol):
    """The part of vLLM's app that knows adapters by name.

    Attributes:
        lora_requests: the adapters that requests may name.
        lora_id_counter: gives each adapter its number.
    """

    lora_requests: dict[str, "LoRARequest"]
    lora_id_counter: "AtomicCounter"


class VllmAdapters:
    """The adapters of one vLLM.

    A new adapter is loaded once to see that it can be: one with wrong weights would end the engine's process at its
    first request. From then on vLLM loads it when a request needs it and drops the least recently used one, and this
    follows: the same uses in the same order give the same adapters.

    Args:
        llm: the engine.
        served: the app's adapters.
        slots: adapters that vLLM keeps loaded (`max_cpu_loras`).
        most_rank: the highest rank of an adapter.
        copies: data-parallel ranks: each loads and drops adapters by itself, as its requests ask.
    """

    def __init__(self, llm: LoraEngine, served: ServedAdapters, *, slots: int, most_rank: int, copies: int = 1) -> None:
        self._llm = llm
        self._served = served
        self._slots = slots
        self._most_rank = most_rank
        self._sources: dict[str, str] = {}
        self._held: list[dict[str, None]] = [{} for _ in range(copies)]
        self._times = Ewma()
        self._loads = [0] * copies
        self._problems: dict[str, str] = {}
        self._changing = asyncio.Lock()

    def report(self, copy: int = 0) -> AdapterReport:
        """Return which adapters requests may name, and which are loaded on a data-parallel rank."""
        return AdapterReport(
            known=frozenset(self._served.lora_requests),
            held=tuple(self._held[copy]),
            slots=self._slots,
            load_s=self._times.mean,
            loads=self._loads[copy],
            problems=dict(self._problems),
        )

    def used(self, name: str, copy: int = 0) -> None:
        """Note that a request on a data-parallel rank uses an adapter."""
        held = self._held[copy]
        if name in held:
            held[name] = held.pop(name)
        else:
            self._loaded(name, copy)

    async def set(self, adapters: Sequence[AdapterSpec]) -> None:
        """Serve exactly these adapters from now on; requests that use others go on. What cannot be loaded is told."""
        async with self._changing:
            wanted = {adapter.name: adapter.source for adapter in adapters}
            for name in self._sources.keys() - wanted.keys():
                self._forget(name)
            for name, source in wanted.items():
                if self._sources.get(name) != source:
                    await self._add(name, source)

    async def _add(self, name: str, source: str) -> None:
        _log.info("loading an adapter", adapter=name, source=source)  # where it is fetched first this takes minutes
        try:
            folder = await asyncio.to_thread(adapter_folder, source, self._most_rank)
            await self._load(name, folder)
        except ModelSourceError as error:
            self._forget(name)
            self._problems[name] = str(error)
            _log.error("an adapter cannot be served", adapter=name, reason=str(error))
        else:
            self._problems.pop(name, None)
        self._sources[name] = source

    def _forget(self, name: str) -> None:
        for known in (self._sources, self._served.lora_requests, self._problems, *self._held):
            known.pop(name, None)

    async def _load(self, name: str, folder: Path) -> None:
        """Load an adapter, and let requests name it.

        Raises:
            ModelSourceError: vLLM cannot load it.
        """
        from vllm.lora.request import LoRARequest  # noqa: PLC0415 - vLLM is imported once its environment is set

        new_id = self._served.lora_id_counter.inc(1)  # vLLM tells weights apart by it
        request = LoRARequest(name, new_id, str(folder))
        began_s = time.monotonic()
        try:
            await self._llm.add_lora(request)
        except Exception as error:
            why = str(error).strip().splitlines()
            raise ModelSourceError(f"vLLM cannot load it: {why[-1] if why else type(error).__name__}") from error
        self._times = self._times.observed(time.monotonic() - began_s, 1.0, KEEP)
        self._served.lora_requests[name] = request
        for copy in range(len(self._held)):
            self._loaded(name, copy)
        _log.info("adapter", adapter=name, folder=str(folder))

    def _loaded(self, name: str, copy: int) -> None:
        held = self._held[copy]
        self._loads[copy] += 1
        while len(held) >= self._slots:
            del held[next(iter(held))]
        held[name] = None
