"""What every endpoint works with: the served model and its simulation."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.media.fetcher import MediaFetcher
from deployments.engines.sim.api.errors import RequestError
from deployments.engines.sim.generation.core import SimCore


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The served model.

    Attributes:
        spec: the model's spec.
        core: its simulation.
        fetcher: fetches the media that prompts name by URL.
        created: when it began to be served, Unix seconds.
    """

    spec: ModelSpec
    core: SimCore
    fetcher: MediaFetcher
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def sim(self) -> SimSpec:
        """The simulation's spec."""
        return self.spec.sim

    def check(self, asked: str | None) -> str:
        """Refuse a request that names another model, or any while the engine is not running.

        Returns:
            The LoRA adapter that the request names; "": it means the model itself.

        Raises:
            RequestError: the model is another, or the engine is not running.
        """
        if asked and asked != self.name and asked not in self.core.scheduler.adapters.known:
            raise RequestError(
                404, "NotFoundError", f"The model `{asked}` does not exist. Valid aliases: {self.name}.", "model"
            )
        if not self.core.alive:
            raise RequestError(503, "Service Unavailable", "the engine is not running")
        return asked if asked and asked != self.name else ""

    @contextmanager
    def freeing_if_refused(self, kv_transfer_params: Mapping[str, Any] | None) -> Iterator[None]:
        """Have the prompt's blocks freed where they are kept if the request is refused, as vLLM does."""
        try:
            yield
        except RequestError:
            if kv_transfer_params and self.core.handoff is not None:
                self.core.handoff.refused(kv_transfer_params)
            raise

    def cards(self) -> list[dict[str, Any]]:
        """Return the entries of `/v1/models`, its own and its adapters', in vLLM's form."""
        known = sorted(self.core.scheduler.adapters.known)
        return [self._card(self.name), *(self._card(name, parent=self.name) for name in known)]

    def _card(self, name: str, parent: str | None = None) -> dict[str, Any]:
        permission = {
            "id": f"modelperm-{self.created:x}",
            "object": "model_permission",
            "created": self.created,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        return {
            "id": name,
            "object": "model",
            "created": self.created,
            "owned_by": "vllm",
            "root": name if parent else self.spec.source or name,
            "parent": parent,
            "max_model_len": None if parent else self.core.max_model_len,
            "permission": [permission],
        }
