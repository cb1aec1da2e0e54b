"""A URL is read in one way, or refused; hosts are compared with the cluster file's domains."""

import time

import pytest

from deployments.engines.media.media_url import MediaUrl, is_allowed, read_url
from deployments.engines.media.refused import MediaRefusal, MediaRefusedError


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("https://Images.Example.com/a.png", MediaUrl("https", "images.example.com", 443, "/a.png")),
        ("HTTP://a.example:80/b?c=d&e=f#g", MediaUrl("http", "a.example", 80, "/b?c=d&e=f")),
        ("https://a.example:8443", MediaUrl("https", "a.example", 8443, "/")),
        ("https://a.example?q", MediaUrl("https", "a.example", 443, "/?q")),
        ("https://a.example/%41?x=/@:", MediaUrl("https", "a.example", 443, "/%41?x=/@:")),
    ],
)
def test_a_plain_url_is_read(text: str, read: MediaUrl) -> None:
    """Scheme and host in lower case, the port said or not, path and query as they came; what follows `#` is dropped."""
    assert read_url(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://a.example/b",
        "gopher://a.example/",
        "javascript:alert(1)",
        "/etc/passwd",
        "",
        "https://",
        "https:a.example/b",
        "https:///a.example/b",
        "https://user@a.example/b",
        "https://user:word@a.example/b",
        "https://a.example@evil.example/b",
        r"https://a.example\@evil.example/b",
        r"https://a.example\b",
        "https://a.example/b c",
        "https://a.example/b\r\nx: y",
        "https://a.example\t/b",
        " https://a.example/b",
        "https://[::1]/b",
        "https://[::ffff:127.0.0.1]/b",
        "https://bücher.example/b",
        "https://a。example/b",
        "https://a%2eexample/b",
        "https://a.example:0/b",
        "https://a.example:65536/b",
        "https://a.example:99999999999/b",
        "https://a.example:/b",
        "https://a.example/é",
        "https://a.example/" + "b" * 9000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Other schemes, files, names of users, IPv6, whatever two parsers could read in two ways."""
    with pytest.raises(MediaRefusedError) as refused:
        read_url(text)
    assert refused.value.reason is MediaRefusal.URL
    assert len(str(refused.value)) < 400


def test_a_long_url_is_read_in_linear_time() -> None:
    """Of 8 000 characters that could begin a query, and one at the end that cannot be."""
    began_s = time.perf_counter()
    with pytest.raises(MediaRefusedError):
        read_url("https://a.example/" + "?" * 8000 + '"')
    assert time.perf_counter() - began_s < 0.5


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("https://a.example/", True),
        ("http://A.example/", True),
        ("https://a.example:8443/", False),
        ("https://a.example./", False),
        ("https://b.a.example/", False),
        ("https://xa.example/", False),
        ("https://a.example.evil/", False),
        ("https://b.wild.example/", True),
        ("https://c.b.wild.example/", True),
        ("https://wild.example/", False),
        ("https://.wild.example/", False),
        ("https://xwild.example/", False),
        ("https://port.example:8443/", True),
        ("https://port.example/", False),
        ("http://127.0.0.1/", False),
        ("http://2130706433/", False),
        ("http://0x7f.1/", False),
    ],
)
def test_hosts_are_compared_whole(text: str, allowed: bool) -> None:  # noqa: FBT001 - a parameter
    """A name is that name alone; `*.` before it is what is below it; a port counts."""
    assert is_allowed(read_url(text), ("a.example", "*.wild.example", "port.example:8443")) is allowed
