"""Settings of Ray that differ from its defaults wherever RackServe starts it: locally, by `ray up` and under Helm.

Each is an environment variable of the head's processes: `RAY_` and the setting's name.
"""

from collections.abc import Mapping
from typing import Final

DEATH_TIMEOUTS: Final[Mapping[str, str]] = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""Settings by which a node is dead after three failed checks of 2 s, 1 s apart: 9 s at most.

Ray's defaults are five checks of 10 s, 3 s apart: 65 s at most, 64 s measured, and a gang that lost a node cannot
answer in that time. Only the head reads these settings.
"""

NODE_DEATH_SEEN_S: Final = 10.0
"""Seconds from a node's last sign of life within which its death is known; see `DEATH_TIMEOUTS`."""
