"""Options of `rackserve gateway`: mistakes are told before anything listens."""

import pytest

from deployments.cli import main as cli
from deployments.commands.gateway.size_option import size_bytes


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "give --replica URL, or --servers FILE"),
        (("--replica", "a:1", "--tls-cert", "x"), 2, "--tls-cert and --tls-key go together"),
        (("--replica", "a:1", "--forward-header", "Host"), 2, "host cannot be passed on"),
        (("--replica", "a:1", "--max-body", "much"), 2, "is no size"),
        (("--replica", "a:1", "--max-body", "1"), 2, "less than 1024 bytes"),
        (("--replica", "a:1", "--tenants", "x", "--pass-authorization"), 2, "servers would see them"),
        (("--replica", "a:1", "--replica-key", "a b"), 2, "printable ASCII"),
        (("--replica", "https://a:1", "--upstream-ca", "/none.pem"), 1, "ca_file: "),
        (("--replica", "ftp://a:1"), 1, "is no URL of a server"),
        (("--servers", "/none.yaml"), 2, "cannot be read"),
    ],
)
def test_mistakes_are_told_before_anything_listens(
    options: tuple[str, ...],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each with what would be right, on one screen, without a traceback."""
    monkeypatch.setattr("sys.argv", ["rackserve", "gateway", *options])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert ended.value.code == code
    assert words in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("2K", 2048), ("64M", 64 << 20), ("1 GiB", 1 << 30), ("5MB", 5_000_000)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    """Bytes, or powers of 1024 and of 1000 by their units."""
    assert size_bytes(text) == size
