"""What Ray is told differently from its defaults wherever RackServe starts it: here, by `ray up` and under Helm.

Ray's settings are environment variables of the head's processes, `RAY_` before the setting's name.
"""

from collections.abc import Mapping
from typing import Final

DEATH_TIMEOUTS: Final[Mapping[str, str]] = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node is dead after three checks of 2 s in vain, 1 s apart: 9 s at most. Ray's defaults, five of 10 s, 3 s apart,
take 64 s, and a gang that lost a node answers nobody meanwhile. Only the head reads them."""

NODE_DEATH_SEEN_S: Final = 10.0
"""Within this long of a node's last word its death is known."""
