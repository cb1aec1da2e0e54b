"""Why machines have not joined, from the log in which Ray's autoscaler tells how it sets them up."""

from deployments.launch.away_machines import failed_on

LOG = """\
2026-11-30 03:30:34,302\tINFO updater.py:490 -- [5/7] Running setup commands
bash: /srv/.bashrc: No such file or directory
the disk is full
2026-11-30 03:30:34,593\tINFO log_timer.py:25 -- NodeUpdater: 10.0.0.12: Setup commands failed [LogTimer=31ms]
2026-11-30 03:30:34,594\tERR updater.py:177 -- \x1b[31mNew status: \x1b[1mupdate-failed\x1b[22m\x1b[26m\x1b[39m
2026-11-30 03:30:34,597\tERR updater.py:191 -- \x1b[31mFull traceback: Traceback (most recent call last):
  File "/x/ray/autoscaler/_private/updater.py", line 172, in run
    self.do_update()
click.exceptions.ClickException: SSH command failed.
\x1b[39m
2026-11-30 03:30:34,597\tERR updater.py:194 -- \x1b[31m!!!\x1b[39m
2026-11-30 03:31:02,100\tINFO log_timer.py:25 -- NodeUpdater: 10.0.0.11: Got remote shell  [LogTimer=12ms]
ray: cannot reach the head
2026-11-30 03:31:02,602\tINFO log_timer.py:25 -- NodeUpdater: 10.0.0.11: Ray start commands failed [LogTimer=36ms]
"""
"""Of a Ray 2.60, shortened."""


def test_what_the_failed_command_printed_is_told_of_its_machine() -> None:
    """Not Ray's own lines around it, nor a traceback's; a machine that came through has nothing."""
    assert failed_on(LOG) == {
        "10.0.0.12": "Setup commands failed: the disk is full",
        "10.0.0.11": "Ray start commands failed: ray: cannot reach the head",
    }
    assert failed_on("") == {}
