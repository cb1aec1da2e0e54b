"""For all tests: what one leaves behind does not reach the next, and a run can be repeated.

Properties draw the same examples each time, so that a change is judged by what it changes; `HYPOTHESIS_PROFILE=explore`
draws new ones.
"""

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """A command under test sets up logging on a stream that is gone after it."""
    yield
    structlog.reset_defaults()
