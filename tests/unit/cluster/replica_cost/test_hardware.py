"""Accelerator facts: every figure has a source, and rates are chosen as kernels choose them."""

import dataclasses

import pytest

from cluster.model_shapes.precision import BF16, FP8, INT8, MXFP4, NVFP4, Rate
from cluster.replica_cost.hardware import ACCELERATORS, Accelerator

FIGURES = [
    field.name
    for field in dataclasses.fields(Accelerator)
    if field.name not in {"name", "title", "sources", "caution", "generation", "is_host"}
]


def test_the_accelerators_people_have_are_known() -> None:
    """Racks, eight-way boxes, PCIe cards, AMD's, and no GPU at all."""
    assert set(ACCELERATORS) == {"gb300", "gb200", "b300", "b200", "h200", "h100", "a100", "l40s", "mi300x", "cpu"}


@pytest.mark.parametrize("name", list(ACCELERATORS))
def test_every_figure_has_a_source(name: str) -> None:
    """A general one, or its own; sources name figures that exist; figures are numbers above zero."""
    accelerator = ACCELERATORS[name]
    assert accelerator.name == name
    assert accelerator.sources[""]
    assert set(accelerator.sources) <= {"", *FIGURES}
    assert all(len(source) > 10 for source in accelerator.sources.values())
    for figure in FIGURES:
        value = getattr(accelerator, figure)
        assert all(rate > 0 for rate in value.values()) if figure == "flops" else value > 0


def test_a_rack_is_one_domain_of_72() -> None:
    """GB300 and GB200 NVL72: 18 trays of four; the eight-way boxes are domains of their own."""
    assert [ACCELERATORS[name].gpus_per_domain for name in ("gb300", "gb200")] == [72, 72]
    assert [ACCELERATORS[name].gpus_per_domain for name in ("b200", "h200", "h100", "a100", "mi300x")] == [8] * 5


def test_racks_add_up_to_what_nvidia_says_of_them() -> None:
    """GB300 NVL72: 1 080 PFLOPS of dense FP4, 360 of FP8, 576 TB/s, about 20 TB, 130 TB/s of NVLink both ways."""
    gb300 = ACCELERATORS["gb300"]
    assert 72 * gb300.flops[Rate.FP4] == 1080e15
    assert 72 * gb300.flops[Rate.FP8] == 360e15
    assert 72 * gb300.memory_bytes_per_s == 576e12
    assert 72 * gb300.memory_bytes == pytest.approx(20e12, rel=0.01)
    assert 72 * 2 * gb300.link_bytes_per_s == pytest.approx(130e12, rel=0.01)


def test_formats_are_multiplied_at_the_best_rate_there_is() -> None:
    """FP8 on an A100 and FP4 on an H100 are unpacked to BF16; MXFP4 weights always are."""
    assert ACCELERATORS["h100"].rate(FP8) == 1979e12
    assert ACCELERATORS["a100"].rate(FP8) == ACCELERATORS["a100"].rate(BF16) == 312e12
    assert ACCELERATORS["h100"].rate(NVFP4) == ACCELERATORS["h100"].rate(BF16)
    assert ACCELERATORS["gb200"].rate(NVFP4) == 10000e12
    assert ACCELERATORS["gb200"].rate(MXFP4) == ACCELERATORS["gb200"].rate(BF16)
    assert ACCELERATORS["gb300"].rate(INT8) == 165e12  # nearly gone: planning it must lose
    assert ACCELERATORS["gb200"].runs(NVFP4)
    assert not ACCELERATORS["h100"].runs(NVFP4)
