"""Parts of a README that commands write, each between two marks."""

from collections.abc import Sequence
from pathlib import Path


def put_into(page: Path, part: str, lines: Sequence[str]) -> None:
    """Write lines into a page in place of those between `<!-- PART -->` and `<!-- end of PART -->`.

    Raises:
        SystemExit: the page has no such marks.
    """
    first, last = f"<!-- {part} -->", f"<!-- end of {part} -->"
    before, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines {first!r} and {last!r}")
    page.write_text("\n".join([before + begin, *lines, end + after]), encoding="utf-8")
