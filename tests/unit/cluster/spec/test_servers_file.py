"""The servers file: what it holds, and every mistake of it at once."""

import pytest

from cluster.errors import SpecError
from cluster.spec.parts.server_url import ServerUrl
from cluster.spec.servers_file import SERVERS_FILE, ServerSpec


def test_a_servers_file_says_how_to_reach_each_server() -> None:
    """URL, key, authority, pass-through and bound of each server; what is unset is left to the options."""
    file = SERVERS_FILE.load(
        """
servers:
  - {url: "https://a.example:8443/openai/v1", key: sk-a, ca_file: /ca.pem, max_requests: 8}
  - {url: 10.0.0.7:8000, pass_authorization: true}
""",
        "servers.yaml",
    )
    first, second = file.servers
    assert first.address == ServerUrl(uses_tls=True, host="a.example", port=8443, path_prefix="/openai")
    assert (first.key, first.ca_file, first.max_requests, first.pass_authorization) == ("sk-a", "/ca.pem", 8, None)
    assert second == ServerSpec(url="http://10.0.0.7:8000", pass_authorization=True)
    assert "sk-a" not in repr(file)


def test_the_list_may_be_empty() -> None:
    """Servers may join later."""
    assert SERVERS_FILE.load("servers: []", "x").servers == ()


def test_every_mistake_is_told_at_once() -> None:
    """Each with its place and what would be right, those over several keys too."""
    with pytest.raises(SpecError) as told:
        SERVERS_FILE.load(
            """
servers:
  - {url: "ftp://a"}
  - {url: "http://b:1", key: x, key_file: /y}
  - {url: "b:1/v1"}
  - {url: "http://c", kee: x, max_requests: 0}
  - {key: "with space", url: 7}
  - {}
""",
            "servers.yaml",
        )
    found = {problem.path: problem.message for problem in told.value.problems}
    assert "give http://HOST:PORT" in found["servers[0].url"]
    assert "one of the two" in found["servers[1].key_file"]
    assert "b:1 is already the server of servers[1]" in found["servers[2].url"]
    assert "did you mean 'key'" in found["servers[3].kee"]
    assert "greater than or equal to 1" in found["servers[3].max_requests"]
    assert set(found) >= {"servers[4].key", "servers[4].url", "servers[5].url"}
