"""Requests that keep coming while a test changes the cluster under them."""

import threading
import time

import httpx


class Load:
    """Keeps asking a model from several threads, and remembers every answer that was not right.

    Args:
        url: of a gateway.
        model: whom to ask.
        clients: how many ask at a time, each on a connection of its own.
        tokens: of each answer.
    """

    def __init__(self, url: str, model: str, clients: int = 4, tokens: int = 20) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._tokens = tokens
        self._body = {
            "model": model,
            "messages": [{"role": "user", "content": "Count from one on."}],
            "max_tokens": tokens,
            "min_tokens": tokens,
            "temperature": 0.0,
        }
        # One client: each would read the machine's certificates anew.
        limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
        self._client = httpx.Client(timeout=120.0, limits=limits)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.answers = 0
        self.longest_s = 0.0
        self.failures: list[str] = []
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                answer = self._client.post(self._url, json=self._body)
                if answer.status_code != httpx.codes.OK:
                    self.failures.append(f"{answer.status_code} {answer.text[:200]}")
                elif answer.json()["usage"]["completion_tokens"] != self._tokens:
                    self.failures.append(f"cut short: {answer.text[-200:]}")
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            self.answers += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)

    def more(self, answers: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more requests have been answered.

        Raises:
            AssertionError: they were not within `timeout_s`.
        """
        wanted, deadline_s = self.answers + answers, time.monotonic() + timeout_s
        while self.answers < wanted:
            assert time.monotonic() < deadline_s, f"{wanted - self.answers} of {answers} answers did not come"
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask no more, and wait for the answers on their way."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
