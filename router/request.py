"""A request as routing sees it: the few fields it needs; the body stays opaque bytes."""

from math import inf
from typing import Final, NamedTuple, final

from router.prefix_cache.match import NO_MATCH, PrefixMatch
from router.prompt.chunk_chain import EMPTY_CHAIN, ChunkChain


class LatencyTargets(NamedTuple):
    """The latencies that a request is to have.

    Attributes:
        ttft_s: time to the first token, seconds; infinite: none is set.
        tpot_s: mean time between two tokens of the answer, seconds; infinite: none is set.
    """

    ttft_s: float = inf
    tpot_s: float = inf


NO_TARGETS: Final = LatencyTargets()


@final
class RoutingRequest:
    """One request, as routing policies see it.

    Attributes:
        request_id: the id the client sees in `x-request-id`.
        model: the model asked for; of an adapter, its base model.
        path: the request's path, without the query.
        stream: the client asked for a stream of events.
        body: the body as it came, in bytes.
        session: the client's `x-session-id`, or "".
        max_tokens: the request's own limit of its answer's tokens; None: it sets none.
        include_usage: the client asked for the usage in its stream's last event.
        continuous_usage: the client asked for the usage in every event.
        output_tokens: expected length of the answer, in tokens; 0 where none is generated.
        now_s: when a replica is chosen for it, in the gateway's monotonic seconds.
        chain: the prompt's chunks; empty where the prompt is not understood or no policy asks for it.
        match: what replicas hold of the prompt, as of `now_s`.
        replica_id: the one replica that can serve it, as it alone has what the request refers to; "": any can.
        is_divisible: one replica may compute its prompt and another generate its answer.
        targets: the latencies that it is to have.
        adapter: the LoRA adapter that it is for; "": none.
    """

    __slots__ = (
        "adapter",
        "body",
        "chain",
        "continuous_usage",
        "include_usage",
        "is_divisible",
        "match",
        "max_tokens",
        "model",
        "now_s",
        "output_tokens",
        "path",
        "replica_id",
        "request_id",
        "session",
        "stream",
        "targets",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        request_id: str,
        model: str,
        path: str,
        stream: bool,
        body: bytes,
        session: str = "",
        max_tokens: int | None = None,
        include_usage: bool = False,
        continuous_usage: bool = False,
        output_tokens: float = 0.0,
        now_s: float = 0.0,
        chain: ChunkChain = EMPTY_CHAIN,
        match: PrefixMatch = NO_MATCH,
        replica_id: str = "",
        is_divisible: bool = True,
        targets: LatencyTargets = NO_TARGETS,
        adapter: str = "",
    ) -> None:
        self.request_id = request_id
        self.model = model
        self.path = path
        self.stream = stream
        self.body = body
        self.session = session
        self.max_tokens = max_tokens
        self.include_usage = include_usage
        self.continuous_usage = continuous_usage
        self.output_tokens = output_tokens
        self.now_s = now_s
        self.chain = chain
        self.match = match
        self.replica_id = replica_id
        self.is_divisible = is_divisible
        self.targets = targets
        self.adapter = adapter
