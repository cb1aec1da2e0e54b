"""The short page at /: what this is, and how to ask."""

from collections.abc import Sequence
from html import escape

_SAMPLE = """curl {url}/v1/chat/completions -H 'content-type: application/json'{key} \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""
_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>RackServe</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:3em auto;padding:0 1em}}
pre{{background:#f4f4f4;padding:1em;overflow:auto}}</style>
<pre>{text}</pre>
</html>
"""


def landing_page(url: str, models: Sequence[str] | None, *, as_html: bool) -> tuple[int, bytes, bytes]:
    """Return status, content type and body of the page.

    Args:
        url: where the client has found the gateway, without a path.
        models: the models that are served; None: a key is needed, and to know them too.
        as_html: the client is a browser.
    """
    if models is None:
        served = "You need an API key; with it, GET /v1/models lists the models that it may use."
    else:
        served = f"Models: {', '.join(models) or 'none yet'}"
    key = " -H 'authorization: Bearer KEY'" if models is None else ""
    model = models[0] if models else "MODEL"
    text = "\n".join(
        (
            "RackServe: language models behind one address.",
            "",
            f"Base URL for OpenAI's clients: {url}/v1",
            f"Base URL for Anthropic's clients: {url}",
            served,
            "",
            _SAMPLE.format(url=url, key=key, model=model),
            "",
            "The API is that of vLLM's server: https://docs.vllm.ai/en/latest/serving/openai_compatible_server/",
            "",
        )
    )
    if as_html:
        return 200, b"text/html; charset=utf-8", _HTML.format(text=escape(text)).encode()
    return 200, b"text/plain; charset=utf-8", text.encode()
