"""A short soak; `make soak` is the long one."""

from pathlib import Path

import pytest

from tests.soak.soak import Soak, bars


@pytest.mark.timeout(300)
def test_a_minute_leaves_nothing_behind(tmp_path: Path) -> None:
    """Streams, leavers, garbage, wrong keys, reloads, a killed engine: memory is flat, each request counts once."""
    seen = Soak(tmp_path, seconds=60.0, seed=3).run()
    assert seen.expected.total() > 1_000
    assert {"ok", "client_left", "invalid_json", "unauthorized", "body_too_large"} <= seen.expected.keys()
    for bar in bars(seen, most_growth=1.1):
        assert bar.holds, (bar, seen)
