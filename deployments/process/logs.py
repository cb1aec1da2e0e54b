"""Logging of RackServe's own processes: one line per event on stderr, as JSON unless stderr is a terminal."""

import os
import sys
from typing import Final

import structlog

LEVEL_VARIABLE: Final = "RACKSERVE_LOG"
"""Environment variable with the log level: debug, info (the default), warning or error."""


def configure_logs(default_level: str = "info") -> None:
    """Set up structlog for this process.

    Args:
        default_level: the level where `RACKSERVE_LOG` is not set.
    """
    level = os.environ.get(LEVEL_VARIABLE, default_level).lower()
    known = structlog.processors.NAME_TO_LEVEL
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        # Tracebacks without the values of variables, which may be credentials or prompts.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info
            if not sys.stderr.isatty()
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(known.get(level, known["info"])),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
