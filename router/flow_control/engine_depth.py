"""How much one replica may be given at once: what its engine works on, plus a small queue, both learned.

A request that waits inside an engine is bound to that engine: it cannot go where a place opens first, nor make way for
a more urgent one. So an engine gets only what it can start on soon, and the rest waits in the gateway. Too little would
let it run dry between two dispatches. Both bounds follow from its load reports:

- `limit`, in requests: grows while the engine takes all it is given at once (batch places and KV blocks are free) and
  falls to what it runs, plus a small margin, when requests wait inside it. Doubling first, then by a twentieth, like
  TCP's congestion window. An engine takes requests in once a step, so those that came since its last step always wait:
  at a rate of 100 a second and 0.05 s a step that is 5 of them (Little's law), and no sign of a full batch. Many that
  came at once are none either, as long as the engine takes more of them in at each step.
- `depth_s`, in seconds of prompts not yet prefilled: grows when the engine has nothing left to prefill although
  requests wait for it, and shrinks slowly while that doesn't happen. It is never less than the longest prefill of one
  step: what fits into the engine's next step does not wait in it, and given in two steps it would take longer.
"""

FIRST_LIMIT = 8.0
UNREPORTED_LIMIT = 256.0
"""For replicas without telemetry: vLLM's default number of sequences in a batch."""
MIN_DEPTH_S = 0.1
MAX_DEPTH_S = 2.0
FIRST_DEPTH_S = 0.25
STEP_S = 0.05
"""An engine takes new requests in once in so long, about: a step with a full batch."""
_GROWTH = 0.05
_DEPTH_GROWTH = 1.25
_DEPTH_DECAY = 0.99


class EngineDepth:
    """One replica's bounds.

    Attributes:
        limit: requests it may have, running and waiting.
        depth_s: seconds of prefill it may have ahead of it.
    """

    __slots__ = ("_learned_s", "_margin", "_most_running", "_slow_start", "_stuck_since_s", "depth_s", "limit")

    def __init__(self) -> None:
        self.limit = UNREPORTED_LIMIT
        self.depth_s = FIRST_DEPTH_S
        self._margin = 1.0
        self._learned_s = FIRST_DEPTH_S
        self._slow_start = True
        self._most_running = 0
        self._stuck_since_s: float | None = None

    def first_report(self) -> None:
        """The replica has telemetry: start low and learn."""
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
            now_s: the time.
            running: requests in the engine's batch.
            waiting: requests in the engine's queue.
            backlog_s: seconds of prefill it has ahead of it.
            wanted: requests wait in the gateway because of this replica's bounds, among others.
            per_s: requests that pass through the engine a second.
            step_s: the longest prefill of one step.
        """
        self._learn_limit(now_s, running, waiting, per_s * STEP_S, step_s)
        if wanted and backlog_s <= 0.0:
            self._learned_s = min(MAX_DEPTH_S, self._learned_s * _DEPTH_GROWTH)
        else:
            self._learned_s = max(MIN_DEPTH_S, self._learned_s * _DEPTH_DECAY)
        self.depth_s = max(self._learned_s, min(step_s, MAX_DEPTH_S))

    def _learn_limit(self, now_s: float, running: int, waiting: int, turnover: float, step_s: float) -> None:
        self._margin = margin = 1.0 + _GROWTH * running + turnover
        if waiting > margin:
            if self._is_stuck(now_s, running, step_s):
                self._slow_start = False
                self.limit = max(1.0, running + margin)
            return
        self._stuck_since_s = None
        if waiting <= turnover and self.is_near(running + waiting):
            self.limit += max(self.limit, FIRST_LIMIT) if self._slow_start else max(1.0, _GROWTH * self.limit)

    def is_near(self, requests: int) -> bool:
        """Tell whether an engine with so many requests is about full."""
        return requests + 1 >= self.limit - self._margin

    def _is_stuck(self, now_s: float, running: int, step_s: float) -> bool:
        """Tell whether requests have waited in the engine for longer than a step and it took in no more of them."""
        if self._stuck_since_s is None or running > self._most_running:
            self._stuck_since_s = now_s
            self._most_running = running
        return now_s - self._stuck_since_s >= STEP_S + step_s
