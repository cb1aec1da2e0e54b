"""What a client's headers say of how urgent its request is."""

import pytest

from router.http.api.urgency import asked_targets
from router.http.wire.request.incoming import IncomingRequest
from router.request import NO_TARGETS, LatencyTargets

USUAL = LatencyTargets(2.0, 0.05)


def _incoming(**headers: bytes) -> IncomingRequest:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return IncomingRequest(b"POST", b"/v1/completions", b"/v1/completions", b"", named, b"{}", True, False)  # noqa: FBT003 - its own order


def test_without_headers_the_models_own_targets_hold() -> None:
    """The very same object, so that most requests make none."""
    assert asked_targets(_incoming(), USUAL) is USUAL
    assert asked_targets(_incoming(), NO_TARGETS) is NO_TARGETS


def test_each_header_replaces_its_own_target() -> None:
    """They are whole milliseconds."""
    assert asked_targets(_incoming(x_slo_ttft_ms=b"500"), USUAL) == LatencyTargets(0.5, 0.05)
    assert asked_targets(_incoming(x_slo_tpot_ms=b" 25 "), USUAL) == LatencyTargets(2.0, 0.025)
    assert asked_targets(_incoming(x_slo_ttft_ms=b"1", x_slo_tpot_ms=b"20"), NO_TARGETS) == LatencyTargets(0.001, 0.02)


@pytest.mark.parametrize("value", [b"", b"0", b"-5", b"1.5", b"fast", b"9" * 13])
def test_a_wrong_value_is_told_by_the_headers_name(value: bytes) -> None:
    """The message says which header, what stood there, and what would be right."""
    with pytest.raises(ValueError, match=r"x-slo-tpot-ms.*no whole number of milliseconds above 0"):
        asked_targets(_incoming(x_slo_tpot_ms=value), USUAL)
