"""What a start went to, from what vLLM's engine process logs."""

import logging
from pathlib import Path

import pytest

from deployments.engines.start_clock import PHASES_FILE, StartClock, note_phases, start_phases
from router.replicas.start_phases import StartPhases

TOOK = "init engine (profile, create kv cache, warmup model) took %.2f s"


def test_what_a_start_went_to_is_read_from_vllms_own_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages of vLLM 0.32, logged with its own arguments; the rest of the start is loading."""
    monkeypatch.setenv(PHASES_FILE, "")
    file = tmp_path / "phases"
    clock = StartClock(file)
    clock.begin()
    logger = logging.getLogger("test.phases")
    logger.setLevel(logging.INFO)
    note_phases(["test.phases"])
    (note,) = logger.handlers
    try:
        logger.info("Time spent downloading weights for %s: %.6f seconds", "org/model", 40.5)
        logger.info("Loading weights took %.2f seconds", 7.0)
        logger.info(f"{TOOK} (compilation: %.2f s)", 30.0, 25.0)  # noqa: G004 - vLLM's format
        assert start_phases(file.read_text(), 90.0, 3.0) == StartPhases(40.5, 19.5, 25.0, 8.0)
        logger.info(f"{TOOK} (compilation: 25.00 s — language_model: 20.00 s, encoder: 5.00 s)", 30.0)  # noqa: G004
        assert file.read_text().splitlines()[-2:] == ["init 30.00", "compile 25.00"]
    finally:
        logger.removeHandler(note)
    assert start_phases("", 90.0, 3.0) == StartPhases(0.0, 90.0, 0.0, 3.0)
    clock.built()
    clock.ready()
    assert clock.phases is not None
    assert clock.phases.compile_s == 50.0
