"""Hosts to launch on, where this machine can make them."""

from collections.abc import Iterator

import pytest

from tests.integration.launch.netns_hosts import NetnsHosts, why_not_here
from tests.integration.launch.ssh_programs import find_programs


@pytest.fixture
def hosts() -> Iterator[NetnsHosts]:
    """Give three hosts; skips where there can be none, saying why."""
    reason = why_not_here()
    programs = reason or find_programs()
    if isinstance(programs, str):
        pytest.skip(programs)
    with NetnsHosts(programs, 3) as made:
        yield made
