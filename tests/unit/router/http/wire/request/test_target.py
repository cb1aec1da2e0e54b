"""A target is one path, however it is spelled; what climbs out of it is refused."""

import pytest

from router.http.wire.request.target import USUAL, RequestTarget, TargetError, read_target

CHAT = b"/v1/chat/completions"


@pytest.mark.parametrize(
    "sent",
    [
        CHAT,
        b"/v1/chat/completions/",
        b"//v1/chat//completions",
        b"/v1//chat/completions//",
        b"/v1/%63hat/completion%73",
        b"/v1%2Fchat%2fcompletions",
        b"http://gateway.example/v1/chat/completions",
        b"HTTPS://gateway.example:8000/v1/chat/completions/",
    ],
)
def test_every_spelling_is_one_path(sent: bytes) -> None:
    """Joined wrongly, percent-encoded, in absolute form: engines see the plain path."""
    assert read_target(sent) == RequestTarget(CHAT, b"", CHAT)


@pytest.mark.parametrize(
    ("sent", "path", "query", "url"),
    [
        (b"/", b"/", b"", b"/"),
        (b"*", b"*", b"", b"*"),
        (b"http://a", b"/", b"", b"/"),
        (b"http://a?x=1", b"/", b"x=1", b"/?x=1"),
        (b"/a/?x=/../", b"/a", b"x=/../", b"/a?x=/../"),
        (b"/a?", b"/a", b"", b"/a?"),
        (b"/a%3Fb?c", b"/a?b", b"c", b"/a%3Fb?c"),
        (b"/a%23b", b"/a#b", b"", b"/a%23b"),
        (b"/a%20b%c3%a9", b"/a%20b%C3%A9", b"", b"/a%20b%C3%A9"),
        (b"/100%", b"/100%25", b"", b"/100%25"),
        (b"/a%2541", b"/a%2541", b"", b"/a%2541"),
        (b"/v1/models/Qwen%2FQwen3-8B", b"/v1/models/Qwen/Qwen3-8B", b"", b"/v1/models/Qwen/Qwen3-8B"),
        (b"/v1/models/%2Fmodels%2FQwen3-8B", b"/v1/models//models/Qwen3-8B", b"", b"/v1/models//models/Qwen3-8B"),
        (b"/v1/models//models/Qwen3-8B", b"/v1/models//models/Qwen3-8B", b"", b"/v1/models//models/Qwen3-8B"),
        (b"/v1/models/", b"/v1/models", b"", b"/v1/models"),
        (b"/v1/models/a..b", b"/v1/models/a..b", b"", b"/v1/models/a..b"),
        (b"/v1/models/./x", b"/v1/models/./x", b"", b"/v1/models/./x"),
        (b"/v1/models/a;..", b"/v1/models/a;..", b"", b"/v1/models/a;.."),
    ],
)
def test_what_is_kept(sent: bytes, path: bytes, query: bytes, url: bytes) -> None:
    """The query stays as it was sent; a path keeps encoded what must be; the slashes of a model's name count."""
    assert read_target(sent) == RequestTarget(path, query, url)


@pytest.mark.parametrize(
    "sent",
    [
        b"/v1/../metrics",
        b"/v1/..",
        b"/..",
        b"/v1/%2e%2e/metrics",
        b"/v1/.%2E",
        b"/v1/..%2fmetrics",
        b"/v1/%252e%252e/metrics",
        b"/v1/%25252e./metrics",
        b"/v1/..\\metrics",
        b"/v1/%5c..%5cmetrics",
        b"/v1/models/%2e%2e%2fx",
        b"/v1/..;/metrics",
        b"/v1/..;a=b/metrics",
        b"/..;",
        b"/v1/%2e%2e%3b/metrics",
        b"/v1/%252e%252e%253Bx/metrics",
        b"/v1\\..\\sleep",
        b"\\..",
        b"/\\../sleep",
        b"/v1/..%5c..;/sleep",
        b"/v1/..%20/sleep",
        b"/v1/%09../sleep",
        b"/v1/%c0%ae%c0%ae/sleep",
        b"/v1/.%c0%ae%c0%afsleep",
        b"/a%1fb",
        b"/a%7f",
        b"/" + b"a" * 5000,
        b"/" + b"%2541" * 1000,
        b"http://a/../x",
        b"/a%00b",
        b"/a%0d%0ab",
        b"/a#b",
        b"a",
        b"",
        b"t:443",
        b"ftp://a/b",
        b"/\xe9",
    ],
)
def test_what_is_refused(sent: bytes) -> None:
    """`..` in any encoding and with what servers take off it, control characters, fragments, and what is no path."""
    with pytest.raises(TargetError):
        read_target(sent)


def test_usual_targets_are_in_normal_form() -> None:
    """They are taken as they are, without being read."""
    assert all(read_target(target) == RequestTarget(target, b"", target) for target in USUAL)


def test_a_path_encoded_many_times_over_costs_no_more() -> None:
    """The number of decodings is bounded, and so is the path, so a long target cannot hold up the gateway."""
    assert read_target(b"/%" + b"25" * 2000).path.startswith(b"/%25")
    with pytest.raises(TargetError, match="over 4096 bytes"):
        read_target(b"/%" + b"25" * 30_000)
    assert read_target(b"/v1/models?" + b"x" * 8192).path == b"/v1/models"
    with pytest.raises(TargetError, match="over 8192 bytes"):
        read_target(b"/v1/models?" + b"a&" * 30_000)
