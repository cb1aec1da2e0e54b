"""Old HTTP as it is still spoken: nginx with its defaults in front (HTTP/1.0), and ApacheBench with keep-alive."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.conftest import Served
from tests.clients.environments import ClientMissingError, debian_folder
from tests.free_ports import free_port

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{gateway}; }} }}
}}
"""


def unpacked(name: str) -> Path:
    """Return where Debian's program is, or skip the test."""
    try:
        return debian_folder(name)
    except ClientMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def through_nginx(served: Served, tmp_path: Path) -> Iterator[str]:
    """The endpoint's URL behind nginx, whose `proxy_pass` has no setting but the address."""
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, port=port, gateway=served.port))
    nginx = unpacked("nginx") / "usr/sbin/nginx"
    process = subprocess.Popen([nginx, "-c", config, "-e", tmp_path / "error.log"])
    try:
        give_up = time.monotonic() + 20
        while not (tmp_path / "nginx.pid").exists():
            assert process.poll() is None, (tmp_path / "error.log").read_text()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        process.terminate()
        process.wait(20)


def chat(served: Served, **more: object) -> dict[str, object]:
    """Return the body of a chat."""
    return {"model": served.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, **more}


def test_nginx_in_front_with_its_defaults(served: Served, through_nginx: str) -> None:
    """Behind nginx's `proxy_pass`, which speaks HTTP/1.0, answers are whole and streams come as they are made."""
    key = {"authorization": f"Bearer {served.key}"}
    whole = httpx.post(through_nginx, json=chat(served), headers=key, trust_env=False)
    assert whole.status_code == 200
    assert whole.json()["choices"][0]["message"]["content"]
    times, text = [], ""
    with httpx.stream("POST", through_nginx, json=chat(served, stream=True), headers=key, trust_env=False) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            times.append(time.monotonic())
            text += line
    assert text.endswith("data: [DONE]")
    assert times[-1] - times[0] > 0.05, "the stream came in one piece"


def test_ab_with_keep_alive(served: Served, tmp_path: Path) -> None:
    """`ab -k`, an HTTP/1.0 client, reuses its connections and sees no failed request."""
    folder = unpacked("ab")
    body = tmp_path / "body.json"
    body.write_text(json.dumps(chat(served, max_tokens=1)))
    libraries = ":".join(str(path) for path in (folder / "usr/lib").glob("*-linux-gnu"))
    url = f"http://127.0.0.1:{served.port}/v1/chat/completions"
    headers = ["-H", f"Authorization: Bearer {served.key}", "-T", "application/json", "-p", str(body)]
    told = subprocess.run(
        [folder / "usr/bin/ab", "-k", "-l", "-n", "60", "-c", "4", *headers, url],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout.decode()
    counts = {name: int(count) for name, count in re.findall(r"^([A-Z][\w -]+):\s+(\d+)$", told, re.MULTILINE)}
    assert counts["Complete requests"] == 60, told
    assert counts["Failed requests"] == 0, told
    assert "Non-2xx responses" not in counts, told
    assert counts["Keep-Alive requests"] == 60, told
