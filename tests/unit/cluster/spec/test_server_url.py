"""Base URLs of servers: each form that people write, and mistakes told with what would be right."""

import pytest

from cluster.spec.parts.server_url import server_url


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("http://127.0.0.1:8001", (False, "127.0.0.1", 8001, "")),
        ("127.0.0.1:8001", (False, "127.0.0.1", 8001, "")),
        ("localhost:8001/v1", (False, "localhost", 8001, "")),
        ("http://node-3:8001/v1/", (False, "node-3", 8001, "")),
        ("http://[::1]:8001", (False, "::1", 8001, "")),
        ("http://plain", (False, "plain", 80, "")),
        ("http://name.example.:8000", (False, "name.example", 8000, "")),
        ("HTTPS://A.Example", (True, "a.example", 443, "")),
        ("https://a.example:8443/openai/v1", (True, "a.example", 8443, "/openai")),
        ("http://a/x/y/", (False, "a", 80, "/x/y")),
        ("http://a/v1/team", (False, "a", 80, "/v1/team")),
        ("http://my_service:1", (False, "my_service", 1, "")),
    ],
)
def test_urls_are_taken_as_people_write_them(text: str, wanted: tuple[bool, str, int, str]) -> None:
    """Scheme, default ports, `/v1` at the end and paths before it."""
    url = server_url(text)
    assert (url.uses_tls, url.host, url.port, url.path_prefix) == wanted
    assert server_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no URL of a server; give http://HOST:PORT or https://HOST:PORT"),
        ("ftp://a:1", "is no URL of a server"),
        ("http://:80", "is no URL of a server"),
        ("http://a b:80", "is no URL of a server"),
        ("http://ä:80", "is no URL of a server"),
        ("http://a\r\nx:1", "is no URL of a server"),
        ("http://a:0", "the port in"),
        ("http://a:", "the port in"),
        ("http://a:x", "the port or address in"),
        ("http://a:65536", "the port or address in"),
        ("http://[::1:80", "the port or address in"),
        ("http://a:1?x=1", "has a query or fragment"),
        ("http://a:1#x", "has a query or fragment"),
        ("http://user:secret@a:1", "give the server's key"),
        ("http://user:secret@a:99999", "the port or address in"),
        ("http://a:1/x/../y", "is not one before /v1"),
        ("http://a:1/x//y", "is not one before /v1"),
        ("http://a:1/v1/chat/completions", "is not one before /v1"),
    ],
)
def test_wrong_urls_are_told(text: str, words: str) -> None:
    """The message says what is wrong and what would be right, and repeats no password."""
    with pytest.raises(ValueError, match=r".") as told:
        server_url(text)
    assert words in str(told.value)
    assert "secret" not in str(told.value)
