"""Engine depth: two learned bounds on what one replica may be given at once.

A request that waits inside an engine is bound to it: it cannot go to another replica that is free first, nor let a more
urgent one pass. So an engine gets what it can start on soon, and the rest waits in the gateway. But with too little the
engine would run dry between two dispatches. Both bounds are learned from the replica's load reports:

- `limit`, in requests. It grows while the engine takes all it is given (batch places and KV blocks are free), and falls
  to what the engine runs plus a small margin when requests wait inside it. First it doubles, later it grows by a
  twentieth, like TCP's congestion window. An engine takes requests in once a step, so requests that came since its last
  step always wait, and are no sign of a full batch: at 100 requests/s and 0.05 s a step they are 5 (Little's law). A
  burst is no sign of it either, as long as the engine takes in more of it at each step, nor are requests that wait
  while it computes the prompts before theirs. What an engine runs while none waits it has places for.
- `depth_s`, in seconds of prefill ahead. It grows when the engine has nothing left to prefill although requests wait
  for it, and shrinks slowly otherwise. It is at least the longest prefill of one step, up to `MAX_DEPTH_S`: what fits
  into the engine's next step does not wait in it, and in two steps it would take longer.
"""

FIRST_LIMIT = 8.0
"""Limit in requests at a replica's first report."""
UNREPORTED_LIMIT = 256.0
"""Limit in requests for a replica without telemetry: vLLM's default number of sequences in a batch."""
MIN_DEPTH_S = 0.1
"""Lowest learned depth, in seconds of prefill."""
MAX_DEPTH_S = 2.0
"""Highest depth, in seconds of prefill."""
FIRST_DEPTH_S = 0.25
"""Depth before anything is learned, in seconds of prefill."""
STEP_S = 0.05
"""Seconds of an engine step with a full batch, about: the engine takes new requests in once a step."""
_GROWTH = 0.05
"""Share by which `limit` grows with a report; the margin has the same share of the running requests."""
_DEPTH_GROWTH = 1.25
"""Factor by which the depth grows with a report that shows an idle engine."""
_DEPTH_DECAY = 0.99
"""Factor by which the depth shrinks with any other report."""


class EngineDepth:
    """One replica's bounds.

    Attributes:
        limit: requests that it may have, running and waiting.
        depth_s: seconds of prefill that it may have ahead of it.
    """

    __slots__ = (
        "_busy_s",
        "_learned_s",
        "_margin",
        "_most_running",
        "_slow_start",
        "_stuck_since_s",
        "depth_s",
        "limit",
    )

    def __init__(self) -> None:
        self.limit = UNREPORTED_LIMIT
        self.depth_s = FIRST_DEPTH_S
        self._margin = 1.0
        self._learned_s = FIRST_DEPTH_S
        self._slow_start = True
        self._most_running = 0
        self._stuck_since_s: float | None = None
        self._busy_s = 0.0

    def first_report(self) -> None:
        """Start with a low limit, at the first report of a replica with telemetry."""
        self.limit = FIRST_LIMIT

    def observe(  # noqa: PLR0913 - what there is to know of one report
        self,
        *,
        now_s: float,
        running: int,
        waiting: int,
        backlog_s: float,
        wanted: bool,
        per_s: float = 0.0,
        step_s: float = 0.0,
    ) -> None:
        """Learn from one report.

        Args:
            now_s: the time, monotonic seconds.
            running: requests in the engine's batch.
            waiting: requests in the engine's queue.
            backlog_s: seconds of prefill that it has ahead of it.
            wanted: requests wait in the gateway, and this replica was full.
            per_s: requests that end in the engine per second.
            step_s: seconds of the longest prefill of one step; 0: not known.
        """
        busy_s = max(step_s, min(backlog_s, MAX_DEPTH_S))
        self._learn_limit(now_s, running, waiting, per_s * STEP_S, busy_s)
        if wanted and backlog_s <= 0.0:
            self._learned_s = min(MAX_DEPTH_S, self._learned_s * _DEPTH_GROWTH)
        else:
            self._learned_s = max(MIN_DEPTH_S, self._learned_s * _DEPTH_DECAY)
        self.depth_s = max(self._learned_s, min(step_s, MAX_DEPTH_S))

    def _learn_limit(self, now_s: float, running: int, waiting: int, turnover: float, busy_s: float) -> None:
        self._margin = margin = 1.0 + _GROWTH * running + turnover
        if waiting > margin:
            if self._is_stuck(now_s, running, busy_s):
                self._slow_start = False
                self.limit = max(1.0, running + margin)
            return
        self._stuck_since_s = None
        if waiting > turnover:
            return
        self.limit = max(self.limit, float(running))
        if self.is_near(running + waiting):
            self.limit += max(self.limit, FIRST_LIMIT) if self._slow_start else max(1.0, _GROWTH * self.limit)

    def is_near(self, requests: int) -> bool:
        """Tell whether an engine with this number of requests is nearly full."""
        return requests + 1 >= self.limit - self._margin

    def _is_stuck(self, now_s: float, running: int, busy_s: float) -> bool:
        """Tell whether requests wait in the engine, and it has taken in no more of them for longer than it was busy."""
        if self._stuck_since_s is None or running > self._most_running:
            self._stuck_since_s = now_s
            self._most_running = running
            self._busy_s = busy_s
        return now_s - self._stuck_since_s >= STEP_S + self._busy_s
