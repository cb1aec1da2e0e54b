"""For all tests: what one leaves behind does not reach the next."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """A command under test sets up logging on a stream that is gone after it."""
    yield
    structlog.reset_defaults()
