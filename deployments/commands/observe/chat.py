"""`rackserve chat`: sends messages to a model through the OpenAI-compatible endpoint; shows which replica answered."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console

from cluster.errors import ClusterError, ClusterUnreachableError
from deployments.commands.target.gateway_pages import AdminPort, GatewayPages, apps_url_on_ray, with_port
from deployments.commands.target.target import CommandTarget
from deployments.gateway.operators import headers_by_key
from deployments.process.direct_http import direct_client

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 600.0


@dataclass(slots=True)
class ChatAnswer:
    """An answer and its measurements.

    Attributes:
        text: the answer.
        ttft_s: seconds from sending to the first text.
        total_s: seconds from sending to the end.
        headers: the response's headers.
        usage: the engine's usage; empty: it gave none.
    """

    text: str = ""
    ttft_s: float = 0.0
    total_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens that the engine found in its prefix cache; None: it does not say."""
        details = self.usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        return int(cached) if cached is not None else None

    def summary(self) -> str:
        """Return one line for people: tokens, times and the replica that answered."""
        parts = []
        if self.usage:
            cached = f", {self.cached_tokens} cached" if self.cached_tokens is not None else ""
            parts.append(f"{self.usage.get('prompt_tokens')} prompt tokens{cached}")
            parts.append(f"{self.usage.get('completion_tokens')} tokens out")
        parts.append(f"first token after {self.ttft_s:.2f} s, all after {self.total_s:.2f} s")
        if "x-rackserve-replica" in self.headers:
            parts.append(f"replica {self.headers['x-rackserve-replica']}")
        return "; ".join(parts)


class ChatEndpoint:
    """An OpenAI-compatible endpoint.

    Args:
        url: the endpoint's URL, with or without `/v1`.
        api_key: the API key; "": none is sent.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {"x-rackserve-explain": "1"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = direct_client(base_url=self.url, headers=headers, timeout=timeout)

    def models(self) -> list[str]:
        """Return the names of the models served.

        Raises:
            ClusterUnreachableError: nothing answers at the URL.
            ClusterError: the endpoint refused the request.
        """
        try:
            response = self._client.get("/v1/models")
        except httpx.HTTPError as error:
            raise ClusterUnreachableError(f"nothing answers at {self.url}: {error}") from error
        if response.status_code == httpx.codes.NOT_FOUND and self._is_moved_from_admin_port():
            return self.models()
        if response.is_error:
            raise ClusterError(_refusal(response))
        return [str(model["id"]) for model in response.json()["data"]]

    def _is_moved_from_admin_port(self) -> bool:
        """Go on at the apps' port if the URL is that of a gateway's admin port; return whether it was."""
        pages = GatewayPages()
        try:
            state = pages.state(AdminPort(self.url, headers_by_key()))
        finally:
            pages.close()
        if state is None:
            return False
        self.url = with_port(self.url, int(state["port"]))
        self._client.base_url = httpx.URL(self.url)
        return True

    def ask(self, body: Mapping[str, Any], on_text: Callable[[str], None]) -> ChatAnswer:
        """Send a chat request and return the answer.

        Args:
            body: the request's JSON, without `stream`.
            on_text: called with each piece of the answer as it arrives.

        Raises:
            ClusterError: the endpoint refused the request, ended the answer early or is gone.
        """
        request = {**body, "stream": True, "stream_options": {"include_usage": True}}
        answer = ChatAnswer()
        sent_s = time.monotonic()
        try:
            with self._client.stream("POST", "/v1/chat/completions", json=request) as response:
                if response.is_error:
                    response.read()
                    raise ClusterError(_refusal(response))
                answer.headers = response.headers
                for event in _events(response):
                    if "error" in event:
                        raise ClusterError(f"the answer broke off: {event['error'].get('message')}")
                    answer.usage = event.get("usage") or answer.usage
                    for choice in event.get("choices", ()):
                        text = choice.get("delta", {}).get("content")
                        if text:
                            answer.ttft_s = answer.ttft_s or time.monotonic() - sent_s
                            answer.text += text
                            on_text(text)
        except httpx.HTTPError as error:
            raise ClusterError(f"the connection to {self.url} broke: {error}") from error
        answer.total_s = time.monotonic() - sent_s
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def chat(  # noqa: PLR0913 - the command's options
    message: str,
    target: CommandTarget,
    *,
    model: str,
    api_key: str,
    system: str,
    temperature: float,
    max_tokens: int,
    console: Console,
) -> None:
    """Send one message and print the answer; without a message, hold a conversation.

    Args:
        message: what to ask; "": lines are read until an empty one.
        target: the gateway to ask, or the Ray cluster that knows it.
        model: the model's name; "": the first one served.
        api_key: the API key; "": none is sent.
        system: the system prompt; "": none.
        temperature: 0 for the likeliest word each time.
        max_tokens: most tokens of an answer.
        console: where answers go.

    Raises:
        ClusterError: the endpoint is gone or refuses a request.
    """
    endpoint = ChatEndpoint(target.urls[0] if target.urls else apps_url_on_ray(target.address), api_key)
    try:
        served = endpoint.models()
        if not served:
            raise ClusterError(f"{endpoint.url} serves no model")
        chosen = model or served[0]
        history: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
        for line in [message] if message else _typed(console, chosen):
            history.append({"role": "user", "content": line})
            body = {"model": chosen, "messages": history, "temperature": temperature, "max_tokens": max_tokens}
            answer = endpoint.ask(body, lambda text: console.print(text, end="", markup=False, highlight=False))
            console.print()
            console.print(answer.summary(), style="dim", highlight=False)
            history.append({"role": "assistant", "content": answer.text})
    finally:
        endpoint.close()


def _typed(console: Console, model: str) -> Iterator[str]:
    console.print(f"Chatting with {model}; an empty line ends it.", style="dim")
    while True:
        try:
            line = console.input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not line:
            return
        yield line


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def _refusal(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return f"{error['message']} (HTTP {response.status_code}, {error.get('code')})"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} from {response.url}: {response.text[:200]}"
