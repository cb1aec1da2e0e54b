"""Handovers: what is expected of a prompt that one replica computes and another fetches, and what is learned."""

from typing import Final

from router.estimator.expectation import Expectation
from router.estimator.learned_rates import LearnedRates, Rates, shared_rates
from router.estimator.model_estimator import MOST_RELAXED_S, RELAX_EVERY_S, ModelEstimator
from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Endpoint
from router.request import RoutingRequest

PRIOR_OVERHEAD_S: Final = 0.005
"""Seconds that a transfer is assumed to take beside its bytes, before one has been seen: two messages and a step."""
PRIOR_BYTES_PER_S: Final = 1e10
"""Bytes per second that are assumed before one has been seen: a fifth of a 400 Gbit/s network."""
PRIOR_BYTES_PER_TOKEN: Final = 100_000
"""Bytes of KV cache a token, where replicas do not say: about those of a model of 8 billion parameters."""


class Handovers:
    """What one gateway expects of the handovers of one model.

    Transfers between the same two places (NVLink domains, or nodes without one) share what is learned of them: so pairs
    inside one domain are cheaper, if they are.

    Args:
        estimator: what is expected of each replica.
    """

    def __init__(self, estimator: ModelEstimator) -> None:
        self._estimator = estimator
        self._links: dict[tuple[str, str], LearnedRates] = {}
        self._relaxed_s = 0.0

    def transfer_s(self, sender: Endpoint, receiver: Endpoint, tokens: float, running: int) -> float:
        """Return the expected seconds from asking the receiver to its first token.

        Args:
            sender: where the blocks are.
            receiver: the replica that fetches them.
            tokens: prompt tokens whose blocks are fetched.
            running: sequences that the receiver is decoding.
        """
        return self._link(sender, receiver).expected_s(tokens, running)

    def _link(self, sender: Endpoint, receiver: Endpoint) -> LearnedRates:
        key = place_of(sender), place_of(receiver)
        link = self._links.get(key)
        if link is None:
            card = sender.transfer
            token_bytes = (card.bytes_per_token if card is not None else 0) or PRIOR_BYTES_PER_TOKEN
            prior = Rates(PRIOR_OVERHEAD_S, token_bytes / PRIOR_BYTES_PER_S, 0.0)
            link = self._links[key] = LearnedRates(prior)
        return link

    def expect(self, request: RoutingRequest, replica: ReplicaEstimator) -> Expectation:
        """Count a request on the replica that will fetch its prompt, as of `request.now_s`.

        Nothing waits there yet: `asked` counts the request when it is sent.
        """
        chain, match = request.chain, request.match
        matched = match.device_count(replica.replica_id)  # what is below the device comes from the other replica, too
        matched_tokens = match.cached_tokens(chain, matched)
        held = matched, chain.prefix_bytes(matched), matched_tokens
        expectation = Expectation(
            replica, chain, *held, match.tokens, 1.0, 0.0, replica.running, request.now_s, is_fetched=True
        )
        if request.adapter:
            expectation.use_adapter(request.adapter)
        source = self._estimator.residency.source(replica.replica_id)
        if source is not None:
            expectation.prompt_number = source.sent(chain, matched, request.now_s)
        return expectation

    def asked(self, expectation: Expectation, now_s: float, *, stream: bool) -> None:
        """Count a request that is now sent to the replica that fetches its prompt; one token is left to compute."""
        replica = expectation.replica
        s_per_token = self._estimator.s_per_token(replica)
        # Long prompts that are computed there delay it, too.
        self._estimator.work_rate(replica).count(replica, s_per_token, now_s)
        expectation.sent_s = now_s
        expectation.ahead_tokens = replica.pending.wait_s(now_s, s_per_token) / s_per_token if s_per_token else 0.0
        expectation.number = replica.pending.add(1.0, now_s, s_per_token, stream=stream)

    def fetched(self, sender: Endpoint, expectation: Expectation, now_s: float) -> None:
        """Learn how long a transfer took, as a stream's first token has come; what waited there is not its doing."""
        replica = expectation.replica
        tokens = max(0.0, expectation.tokens - expectation.matched_tokens)
        ahead_s = expectation.ahead_tokens * self._estimator.s_per_token(replica)
        link = self._link(sender, replica.endpoint)
        link.learn(max(0.0, now_s - expectation.sent_s - ahead_s), tokens, expectation.running)
        passed_s = now_s - self._relaxed_s
        if passed_s >= RELAX_EVERY_S:  # so that a link that was slow once is tried again
            self._relaxed_s = now_s
            shared = shared_rates(self._links.values())
            if shared is not None:
                for each in self._links.values():
                    each.relax(min(passed_s, MOST_RELAXED_S), shared)

    def streamed(self, expectation: Expectation, tokens: int | None, now_s: float) -> None:
        """Learn a replica's stream speed from a stream that came to its end; `tokens` are those of its answer."""
        began_s, replica = expectation.prefilled_s, expectation.replica
        if began_s is None or tokens is None:
            return
        gateways = max(1, replica.report.gateways) if replica.report is not None else 1
        prefilled = (replica.prefilled_tokens - expectation.prefilled_before) * gateways
        beside = max(0.0, (expectation.running + replica.running) / 2 - 1)
        replica.streams.learn(now_s - began_s, tokens - 1, beside, prefilled, self._estimator.s_per_token(replica))


def place_of(endpoint: Endpoint) -> str:
    """Return the name of where a replica is, for the speed of links: its NVLink domain, or else its node."""
    return endpoint.domain or endpoint.node_id or endpoint.host
