"""Chats of several tenants, counted on the client's side."""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(slots=True)
class Counted:
    """What a tenant's clients saw.

    Attributes:
        outcomes: answers by the gateway's word for how they ended.
        tokens: prompt, cached, completion and reasoning tokens that answers told.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)


class CountedLoad:
    """Asks over and over from one thread a tenant until it is stopped; every second answer is streamed.

    Every tenth request is for a model that there is not, every third of the others for the adapter, and every eleventh
    has an image from where the model may fetch none.

    Args:
        url: of the gateways.
        model: whom to ask.
        keys: API key of each tenant.
        adapter: an adapter of the model.
    """

    def __init__(self, url: str, model: str, keys: dict[str, str], *, adapter: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._model = model
        self._adapter = adapter
        self._stopping = threading.Event()
        self._errors: list[Exception] = []
        self.seen = {tenant: Counted() for tenant in keys}
        self._threads = [threading.Thread(target=self._run, args=item) for item in keys.items()]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more, and wait for the answers on their way.

        Raises:
            ExceptionGroup: a client failed otherwise than by a refusal.
        """
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise ExceptionGroup("the load's clients failed", self._errors)

    def _run(self, tenant: str, key: str) -> None:
        counted, turn = self.seen[tenant], 0
        try:
            # One connection a request: the kernel spreads connections over the gateways.
            while not self._stopping.is_set():
                turn += 1
                with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=60.0) as client:
                    self._ask(client, counted, turn)
                self._stopping.wait(0.02)
        except (httpx.HTTPError, KeyError, ValueError, AssertionError) as error:
            self._errors.append(error)

    def _ask(self, client: httpx.Client, counted: Counted, turn: int) -> None:
        text = f"{'Tell me about placement. ' * 40}{turn % 7}"
        image = {"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}}
        body: dict[str, Any] = {
            "model": (self._model if turn % 3 else self._adapter) if turn % 10 else "no-such-model",
            "messages": [{"role": "user", "content": text if turn % 11 else [{"type": "text", "text": text}, image]}],
            "max_tokens": 8,
        }
        if turn % 2:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        answer = client.post(self._url, json=body)
        if not answer.is_success:
            said = answer.json()["error"]["code"]
            counted.outcomes[said if isinstance(said, str) else "upstream_status"] += 1  # the engine's own has a number
            return
        counted.outcomes["ok"] += 1
        if turn % 2:
            events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
            usage = json.loads(events[-1])["usage"]
        else:
            usage = answer.json()["usage"]
        counted.tokens["prompt"] += usage["prompt_tokens"]
        counted.tokens["completion"] += usage["completion_tokens"]
        counted.tokens["reasoning"] += (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        counted.tokens["cached"] += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
