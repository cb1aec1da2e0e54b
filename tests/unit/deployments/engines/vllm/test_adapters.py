"""Which LoRA adapters each data-parallel rank of vLLM has loaded, followed by what requests use."""

from types import SimpleNamespace
from typing import Any

from deployments.engines.vllm.adapters import VllmAdapters


def test_each_rank_loads_and_drops_by_its_own_requests() -> None:
    """With two slots the least recently used one is dropped, on the rank that loads another."""
    nothing: Any = SimpleNamespace(lora_requests={}, add_lora=None)
    adapters = VllmAdapters(nothing, nothing, slots=2, most_rank=8, copies=2)
    for name, rank in (("a", 0), ("b", 0), ("a", 0), ("c", 0), ("b", 1)):
        adapters.used(name, rank)
    assert [(adapters.report(rank).held, adapters.report(rank).loads) for rank in (0, 1)] == [
        (("a", "c"), 3),
        (("b",), 1),
    ]
