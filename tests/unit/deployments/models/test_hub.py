"""What cannot be had from the Hugging Face hub is told in seconds, asked of a scripted hub over a real socket."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.models.hub import hub_problem, hub_problem_of

ANSWERS = {
    "there/model": (200, ""),
    "moved/model": (307, ""),
    "other-files/model": (404, "EntryNotFound"),
    "busy/model": (429, ""),
    "gone/model": (404, "RepoNotFound"),
    "hidden/model": (401, ""),
    "gated/model": (403, "GatedRepo"),
    "broken/model": (503, ""),
}


class _Hub(BaseHTTPRequestHandler):
    seen: list[tuple[str, str]] = []  # noqa: RUF012 - the class is the server's memory

    def do_HEAD(self) -> None:
        """Answer as the hub does: the reason is in a header."""
        owner, name, _, revision, *_ = self.path.strip("/").split("/")
        self.seen.append((self.path, self.headers.get("authorization", "")))
        status, code = ANSWERS[f"{owner}/{name}"]
        if revision == "nope":
            status, code = 404, "RevisionNotFound"
        self.send_response(status)
        if code:
            self.send_header("x-error-code", code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give an environment that names a hub and an empty cache."""
    _Hub.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}/", "HF_HOME": str(tmp_path / "hf")}
        hub.shutdown()
        thread.join()


@pytest.mark.parametrize("source", ["there/model", "moved/model", "other-files/model", "busy/model"])
def test_what_the_hub_has_can_be_had(source: str, env: dict[str, str]) -> None:
    """With or without a config.json; a hub that asks for patience has it, too."""
    assert hub_problem(source, env) == ""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("gone/model", "there is no model 'gone/model' at http://127.0.0.1"),
        ("hidden/model", "if it is a private one: give a token in HF_TOKEN"),
        ("gated/model", "is gated: accept its terms at http://127.0.0.1"),
        ("broken/model", "answers with HTTP 503"),
    ],
)
def test_what_it_has_not_is_told_with_what_would_be_right(source: str, words: str, env: dict[str, str]) -> None:
    """No such repository, a private one, a gated one, or a hub that is down."""
    assert words in hub_problem(source, env)


def test_a_token_is_shown_and_told_if_it_does_not_help(env: dict[str, str]) -> None:
    """From the environment, or from the file that `hf auth login` writes."""
    assert "HF_TOKEN does not open it" in hub_problem("gated/model", {**env, "HF_TOKEN": "hf_x"})
    Path(env["HF_HOME"]).mkdir()
    (Path(env["HF_HOME"]) / "token").write_text("hf_y\n")
    hub_problem("there/model", env)
    assert [seen for _, seen in _Hub.seen] == ["Bearer hf_x", "Bearer hf_y"]


def test_a_models_own_arguments_and_environment_count(env: dict[str, str], tmp_path: Path) -> None:
    """Its revision is asked for, its `download_dir` is looked into, and its variables come first."""
    model = ModelSpec(name="m", source="there/model", engine_args={"revision": "nope"})
    assert "has no revision 'nope'" in hub_problem_of(model, env)
    (tmp_path / "mine" / "models--gone--model" / "snapshots" / "abc").mkdir(parents=True)
    (tmp_path / "mine" / "models--gone--model" / "snapshots" / "abc" / "config.json").touch()
    cached = ModelSpec(name="m", source="gone/model", engine_args={"download-dir": str(tmp_path / "mine")})
    assert hub_problem_of(cached, env) == ""
    offline = ModelSpec(name="m", source="there/model", env={"HF_HUB_OFFLINE": "1"})
    assert "HF_HUB_OFFLINE forbids" in hub_problem_of(offline, env)


def test_a_model_in_the_cache_needs_no_hub(tmp_path: Path) -> None:
    """Neither when the hub is not there nor when it may not be asked."""
    snapshot = tmp_path / "hub" / "models--org--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    dead = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:1"}
    assert hub_problem("org/model", dead) == ""
    assert hub_problem("org/model", {**dead, "HF_HUB_OFFLINE": "1"}) == ""


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid", "not a url"])
def test_a_hub_that_is_not_reached_is_told_with_the_ways_around(endpoint: str, tmp_path: Path) -> None:
    """What was tried, why it failed, and where the model could be put."""
    told = hub_problem("org/model", {"HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint})
    assert f"{endpoint} cannot be reached" in told
    assert "give a folder or a built-in name" in told
    assert str(tmp_path / "hub") in told


def test_another_hub_is_not_asked() -> None:
    """ModelScope has ids of its own."""
    assert hub_problem("org/model", {"VLLM_USE_MODELSCOPE": "True", "HF_ENDPOINT": "http://127.0.0.1:1"}) == ""
