"""`rackserve demo`: serves a real model on one machine, asks it a question, and prints in a few lines what happened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from deployments.commands.observe.chat import ChatAnswer, ChatEndpoint
from deployments.commands.observe.explanation import explanation_lines, fetch_explanation
from deployments.commands.operate.serve import (
    end_if_abandoned,
    fetch_builtin_models,
    progress_lines,
    stop_signals,
    watch,
)
from deployments.launch.application import Launch
from deployments.replica.read_spec import read_spec

FILE: Final = Path(__file__).parents[2] / "examples" / "demo.yaml"
QUESTION: Final = "What is the capital of France?"
SYSTEM: Final = (
    "You are a helpful assistant. Answer the user's question in one short and complete sentence, in plain words, "
    "without any list, heading or explanation around it."
)
"""Long enough to fill whole KV blocks, so that a repeated question finds them cached."""


def demo(*, keep: bool, console: Console) -> None:
    """Run the demo; with `keep`, serve until SIGINT or SIGTERM.

    Raises:
        RackServeError: a step failed.
    """
    spec = read_spec(FILE)
    fetch_builtin_models(spec, console)
    launch = Launch(spec)
    with stop_signals() as is_stopping:
        try:
            model = spec.models[0]
            console.print(f"Starting Ray, {model.replicas.min} replicas of {model.name} on vLLM and a gateway …")
            launch.start(is_stopping)
            with progress_lines(console) as report:
                url = launch.wait_until_ready(report, is_stopping)
            if url:
                _ask(url, model.name, spec.gateway.admin_port, console)
            if url and keep:
                _print_what_to_try(url, model.name, console)
                watch(launch, console, is_stopping)
        finally:
            console.print("Stopping …")
            launch.stop()
            console.print("Stopped.")
            end_if_abandoned(launch)


def _ask(url: str, model: str, admin_port: int, console: Console) -> None:
    endpoint = ChatEndpoint(url)
    try:
        for attempt in ("first", "second", "third"):  # three questions to two replicas: one has the prompt cached
            console.print(f"\n[bold]{QUESTION}[/bold]  (asked the {attempt} time)")
            body = {
                "model": model,
                "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
                "temperature": 0.0,
                "max_tokens": 64,
            }
            answer = endpoint.ask(body, lambda text: console.print(text, end="", markup=False, highlight=False))
            console.print()
            admin_url = f"http://127.0.0.1:{admin_port}"
            _print_how(answer, fetch_explanation(admin_url, answer.headers.get("x-request-id", "")), console)
    finally:
        endpoint.close()


def _print_how(answer: ChatAnswer, explanation: Mapping[str, Any], console: Console) -> None:
    def line(name: str, text: str) -> None:
        console.print(f"  {name:<10}{text}", style="dim", highlight=False, markup=False, soft_wrap=True)

    line("replica", f"{answer.headers.get('x-rackserve-replica')} (request {answer.headers.get('x-request-id')})")
    for position, text in enumerate(explanation_lines(explanation) if explanation else ()):
        line("why" if position == 0 else "", text)
    cached = answer.cached_tokens
    usage = answer.usage
    line(
        "tokens",
        f"{usage.get('prompt_tokens')} in ({cached or 0} of them cached), {usage.get('completion_tokens')} out",
    )
    line("times", f"first token after {answer.ttft_s:.2f} s, all after {answer.total_s:.2f} s")


def _print_what_to_try(url: str, model: str, console: Console) -> None:
    console.print(
        f"""
Serving at {url}/v1 until Ctrl-C. Try:

curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'

from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="none")
answer = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "{QUESTION}"}}])
print(answer.choices[0].message.content)
""",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
