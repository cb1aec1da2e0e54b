"""What a command asks: the same two options everywhere, and a dead address is told at once."""

import socket
import time
from collections.abc import Iterator

import pytest

from cluster.errors import ClusterUnreachableError, SpecError
from deployments.commands.target.target import APPS_URL, CommandTarget, check_listening, target_of


@pytest.fixture
def listening() -> Iterator[str]:
    """Give an address at which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_ADDRESS", "RACKSERVE_ADMIN_URL", "RACKSERVE_URL"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://h:8002", "http://h:8002"),
        ("h:8002", "http://h:8002"),
        ("http://h:8002/", "http://h:8002"),
        ("https://h/v1", "https://h"),
        ("http://[::1]:8000/v1/", "http://[::1]:8000"),
        ("http://h/prefix/v1", "http://h/prefix"),
    ],
)
def test_urls_may_be_written_as_people_do(url: str, plain: str) -> None:
    """Without a scheme, with a slash, with the API's path."""
    assert target_of([url], "") == CommandTarget((plain,))


@pytest.mark.parametrize("url", ["", "ftp://h", "http://", "://h"])
def test_what_is_no_url_is_told(url: str) -> None:
    """With an example of one."""
    with pytest.raises(SpecError, match="not a URL such as"):
        target_of([url], "")


def test_the_command_line_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch, listening: str) -> None:
    """An option that is given decides; else a gateway that the environment names, then its Ray cluster."""
    monkeypatch.setenv("RAY_ADDRESS", listening)
    assert target_of([], "") == CommandTarget(address=listening)
    monkeypatch.setenv("RACKSERVE_ADMIN_URL", "http://a:1, http://b:2")
    assert target_of([], "") == CommandTarget(("http://a:1", "http://b:2"))
    assert target_of(["http://c:3"], "") == CommandTarget(("http://c:3",))
    assert target_of([], listening) == CommandTarget(address=listening)
    monkeypatch.setenv("RACKSERVE_URL", "http://apps:8000")
    assert target_of([], "", variable=APPS_URL) == CommandTarget(("http://apps:8000",))


def test_without_anything_the_commands_own_default_counts() -> None:
    """The Ray cluster on this machine, or a URL."""
    assert target_of([], "") == CommandTarget(address="auto")
    assert target_of([], "", default="http://127.0.0.1:8000") == CommandTarget(("http://127.0.0.1:8000",))


def test_both_options_are_a_mistake(listening: str) -> None:
    """One question has one answer."""
    with pytest.raises(SpecError, match="not both"):
        target_of(["http://h:1"], listening)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:6379", "127.0.0.1:99999"])
def test_a_dead_address_is_told_at_once(address: str) -> None:
    """Before Ray is loaded, in one line."""
    began_s = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match=f"no Ray cluster at {address}: ") as caught:
        check_listening(address)
    assert time.monotonic() - began_s < 5
    assert "\n" not in str(caught.value)


def test_an_address_that_takes_no_connection_is_told_in_seconds() -> None:
    """A machine that is off answers nothing: a full backlog is as silent."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as waiting:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        waiting.connect(server.getsockname())
        with pytest.raises(ClusterUnreachableError, match="no answer within 2 s"):
            check_listening(address)


def test_other_forms_are_rays_to_judge() -> None:
    """`auto`, a name alone, a URL."""
    for address in ("auto", "", "head", "ray://127.0.0.1:1"):
        check_listening(address)
