"""What is known of one plain server: its models, and whether it is alive, by polls and by answers to requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from deployments.standalone.server_address import ServerAddress
from deployments.standalone.server_kind import continues_messages
from router.replicas.endpoint import Endpoint, Presence
from router.replicas.model_card import ModelCard

MISSES: Final = 2
"""Failed polls in a row, without another sign of life, after which a server is no longer taken to be well."""
LOST_S: Final = 15.0
"""Seconds without any sign of life after which a server that is slow gets no more requests.

One that refuses connections gets none after `MISSES` polls: its process has ended. One that is slow may be busy.
"""
KEEP_S: Final = 300.0
"""Seconds for which a server that cannot be reached keeps what is known of its cache: it may be back in no time."""


@dataclass(slots=True)
class Server:
    """One OpenAI-compatible server. A sign of life is an answered poll, or a request to which bytes of an answer came.

    Attributes:
        address: where it is.
        models: cards of its models, by name, as of the last answered poll.
        refused: names it announced that cannot be taken.
        has_answered: it has answered a poll since the gateway started.
        may_have_restarted: polls have failed since its metrics were read, so another process may be there.
        kv_tokens: tokens that its KV caches hold; 0: not known.
        started_s: when its process started, Unix seconds; 0: not known.
        presence: whether it can be reached.
        misses: failed polls in a row without a sign of life.
        refusals: polls in a row whose connection was refused.
        sign_s: time of its last sign of life, monotonic seconds.
    """

    address: ServerAddress
    models: Mapping[str, ModelCard] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    has_answered: bool = False
    may_have_restarted: bool = True
    kv_tokens: int = 0
    started_s: float = 0.0
    presence: Presence = Presence.AWAY
    misses: int = 0
    refusals: int = 0
    sign_s: float = float("-inf")

    def lives(self, now_s: float) -> None:
        """Note a sign of life."""
        self.misses = self.refusals = 0
        self.sign_s = now_s
        if self.has_answered:
            self.presence = Presence.HERE

    def missed(self, now_s: float, *, is_refused: bool) -> None:
        """Note a failed poll that no sign of life came with; `is_refused`: nothing listens at its port."""
        self.misses += 1
        self.refusals = self.refusals + 1 if is_refused else 0
        self.may_have_restarted = True
        if self.refusals >= MISSES or (self.misses >= MISSES and now_s - self.sign_s > LOST_S):
            self.presence = Presence.AWAY
        elif self.misses >= MISSES and self.presence is Presence.HERE:
            self.presence = Presence.SILENT

    def endpoints(self, now_s: float) -> list[Endpoint]:
        """Return one row for each of its models; none once it has been away for `KEEP_S`."""
        if self.presence is Presence.AWAY and now_s - self.sign_s > KEEP_S:
            return []
        return [
            replace(
                self.address.endpoint(name),
                kv_tokens=self.kv_tokens // len(self.models),
                presence=self.presence,
                started_s=self.started_s,
                card=card,
                continues_messages=continues_messages(card),
            )
            for name, card in self.models.items()
        ]
