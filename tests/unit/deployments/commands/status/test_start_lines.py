"""`rackserve status` says what replicas' starts went to."""

from dataclasses import asdict
from typing import Any

from deployments.commands.status.status import start_lines
from router.replicas.start_phases import StartPhases

COLD = StartPhases(download_s=41.0, load_s=12.3, compile_s=25.0, warm_up_s=6.0)
WARM = StartPhases(load_s=11.0, warm_up_s=6.0)


def test_the_slowest_start_of_each_pool_is_told_by_its_parts() -> None:
    """Replicas that don't say, such as those of gateways asked by URL, have no line."""
    models: dict[str, dict[str, Any]] = {
        "chat": {"replicas": [{"start": asdict(WARM)}, {"start": asdict(COLD)}]},
        "code": {"replicas": [{"pool": "prefill", "start": asdict(WARM)}, {"pool": "decode", "start": None}]},
        "other": {"replicas": [{}]},
    }
    assert list(start_lines(models)) == [
        "start of chat: 84.3 s (download 41.0 s, load 12.3 s, compile 25.0 s, warm-up 6.0 s), the slowest of 2",
        "start of code:prefill: 17.0 s (load 11.0 s, warm-up 6.0 s)",
    ]
