"""Settings of Ray that differ from its defaults wherever RackServe starts it: locally, by `ray up` and under Helm.

Each is an environment variable of Ray's processes, named as Ray reads it. One that the operator has set stays as it is:
in the shell for `rackserve serve`, in `launch.env` for `rackserve up`, in `env` of the chart's values.
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

HEAD_AWAY: Final[Mapping[str, str]] = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5400"}
"""For how long a node, and each process on it, waits for a head that is away before it ends itself; for every node.

Ray's default is 60 s: a minute without the head, and every replica and gateway of the cluster has ended. No request
needs the head, so they go on for an hour, and for half an hour in which somebody brings it back: a head that has been
away for exactly as long as they wait comes back to nothing.
"""

STATE_FOLDER: Final = ".rackserve/gcs"
"""Path, under the head's user's home, of what Ray knows of its cluster; outlives the head's processes."""

KEPT_STATE: Final[Mapping[str, str]] = {
    "RAY_gcs_storage": "rocksdb",
    "RAY_gcs_storage_path": f"$HOME/{STATE_FOLDER}",
}
"""Keeps on disk what the head knows, for the head alone; values are for a shell to expand.

Ray's default is memory: a head that comes back is then another cluster, and the nodes that waited for it end all that
runs on them. With it they join again, and Serve's controller finds its replicas. Where `launch.env` names a Redis
(`RAY_gcs_storage: redis`, `RAY_REDIS_ADDRESS`) that is used; under Helm KubeRay sets what `gcs` says.
"""

PACE: Final[Mapping[str, str]] = {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_event_stats": "0",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_kill_idle_workers_interval_ms": "1000",
    "RAY_local_fs_monitor_interval_ms": "1000",
    "RAY_object_manager_timer_freq_ms": "1000",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "5",
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "1",
}
"""How often Ray's processes look at what rarely changes here; for every node. `make bench-idle` measures the gain.

- Serve's control loop, 0.1 s by default, asks GCS three questions each time. At 0.5 s a changed target
  of the autoscaler is obeyed up to 0.4 s later; the time from start to READY stayed the same.
- No request passes Serve, so its counters of requests are exported every 5 s in place of every 0.1 s.
- Ray counts and times each event of each event loop, for logs that only its developers read.
- The raylet looks once a second at memory, disk, idle workers and objects on their way, in place of 4 to 10 times. No
  token passes its object store, and workers are not killed for being idle.
- The log monitor looks for new log files every 5 s in place of ten times a second, and the agent for events every
  second in place of every 0.1 s.

Sources: `ray/serve/_private/constants.py`, `src/ray/common/ray_config_def.h`, `ray/_private/log_monitor.py` and
`ray/dashboard/modules/event/event_consts.py` of Ray 2.60.
"""

UNSEEN: Final[Mapping[str, str]] = {
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
}
"""Switches off what Ray records for its dashboard and for metrics of its own, on nodes of clusters without a dashboard.

RackServe's own metrics are the gateways'. Not under Helm, where KubeRay runs the dashboard.
"""

TOKEN_FILE: Final = ".rackserve/ray_token"  # noqa: S105 - a path
"""Path, under a user's home, of the token that Ray asks for: made by the first start there, copied to workers."""

AUTHENTICATION: Final[Mapping[str, str]] = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"$HOME/{TOKEN_FILE}"}
"""Ray's authentication, said on each node that `rackserve up` starts; values are for a shell to expand.

Left to itself, `ray start --head` of Ray 2.60 asks for a token if a file `~/.ray/auth_token` is there, as any
`ray.init()` leaves it, while `ray start --address` sends none: workers then try for ever to join.
"""

LEFT_OVER: Final = ("RAY_ADDRESS", "RAY_AUTH_TOKEN")
"""Variables of a login shell that name another Ray or its token; unset before a start."""

NODE_DEATH_SEEN_S: Final = 10.0
"""Seconds from a node's last sign of life within which its death is known; see `DEATH_TIMEOUTS`."""
