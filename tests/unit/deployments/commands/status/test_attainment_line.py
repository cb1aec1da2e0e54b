"""What `rackserve status` says of service level objectives."""

from typing import Any

from deployments.commands.status.attainment_line import attainment_lines, attainment_of


def _state(requests: int, met: int, late: int, ttft_s: float | None = 2.0) -> dict[str, Any]:
    windows = {
        "5 min": {"requests": requests, "met": met},
        "1 h": {"requests": 10 * requests, "met": 10 * requests},
        "6 h": {"requests": 0, "met": 0},
    }
    missed = {"late": late, "slow": 0, "failed": 0}
    return {
        "models": {
            "m": {"slo": {"ttft_s": ttft_s, "tpot_s": 0.05, "share": 0.95, "windows": windows, "missed": missed}}
        }
    }


def test_gateways_are_added_up() -> None:
    """Each gateway counts its own requests; one that does not answer, or has none of the model, counts none."""
    found = attainment_of("m", [_state(100, 90, 10), None, {"models": {"m": {"slo": None}}}, _state(100, 100, 0)])
    assert found is not None
    assert found["windows"]["5 min"] == {"requests": 200, "met": 190, "in_time": 0.95, "burn_rate": 1.0}
    assert found["windows"]["6 h"]["in_time"] is None
    assert found["missed"]["late"] == 10
    assert attainment_of("other", [_state(1, 1, 0)]) is None


def test_a_missed_objective_is_said_in_a_line_of_its_own() -> None:
    """With what was missed; a model in time has one line, one without an objective none."""
    late = attainment_of("m", [_state(100, 80, 20)])
    good = attainment_of("m", [_state(100, 99, 1, ttft_s=None)])
    hour = "100.0% in time in the last 1 h, burn rate 0"
    assert list(attainment_lines({"m": {"slo": late}, "n": {"slo": good}, "o": {"slo": None}, "p": {}})) == [
        f"SLO m: 0.95 of requests with TTFT 2 s and TPOT 0.05 s: 80.0% in time in the last 5 min, burn rate 4; {hour}",
        "m misses its SLO now (20 late so far): see the queues dashboard, or `rackserve why REQUEST_ID`",
        f"SLO n: 0.95 of requests with TPOT 0.05 s: 99.0% in time in the last 5 min, burn rate 0.2; {hour}",
    ]


def test_before_any_request_it_says_so() -> None:
    """An objective nobody has been held to yet."""
    none = attainment_of("m", [_state(0, 0, 0)])
    [line] = attainment_lines({"m": {"slo": none}})
    assert line.endswith("no such request has ended in the last hours")
