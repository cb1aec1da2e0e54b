"""Ten thousand seeded inputs to the parsers of what strangers and engines send; `make fuzz` tries a million."""

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

INPUTS = 2_000


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_promise(name: str) -> None:
    """No exception, one meaning for gateway and engine, however bytes are split; none takes long."""
    assert fuzz(name, TARGETS[name], INPUTS, seed=11) == 0


def test_a_broken_promise_is_found() -> None:
    """The runner finds a check that fails for one word only, by mutation alone."""

    def check(data: bytes) -> None:
        assert b"model" not in data or b"\x00" not in data

    target = Target(check, seeds=(b'{"model":"m"}',), words=(b"\x00", b"x"))
    assert fuzz("self-test", target, INPUTS, seed=1) == 1
