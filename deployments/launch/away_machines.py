"""Says why machines of a launch have not joined Ray, by looking at them: the autoscaler tries again without a word."""

import re
import shlex
from collections.abc import Sequence
from typing import Final

from cluster.ray_settings import TOKEN_FILE
from cluster.spec.launch_spec import OnPremLaunch
from deployments.launch.ssh_hosts import Said, on_head, on_workers

RAY_PORT: Final = 6379
"""Port of Ray's head in every file of `cluster/launch/`."""
_LOOK: Final = """
reached() { timeout 3 bash -c "</dev/tcp/$head/$port" 2>/dev/null; }
if pgrep -f '[r]aylet/raylet' >/dev/null; then
  if reached; then
    echo "Ray runs there, but is no node of $head:$port; see its /tmp/ray/session_latest/logs/raylet.out"
  else echo "Ray runs there, but cannot reach the head at $head:$port"; fi
elif found=$(pgrep -af '[p]ip install|[r]ay start --address' | head -n 1) && [ -n "$found" ]; then
  echo "it is being set up: ${found#* }" | cut -c -200
elif ! test -x "$venv/bin/ray"; then
  echo "there is no $venv/bin/ray: its setup commands have not run to their end"
elif ! test -s ~/"$token"; then echo "the head has not copied ~/$token there yet"
elif ! reached; then echo "it cannot reach the head at $head:$port"
else echo "nothing of Ray runs there"; fi
"""
_RAYS_OWN = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+\s|^\s|^Traceback|^click\.|^\x1b|\.bashrc: No such file")
"""Lines of the head's log that Ray itself wrote, and those that tell nothing; the others are what commands printed."""
_FAILED = re.compile(r"NodeUpdater: (?P<host>\S+): (?P<step>.+) failed\b")


def why_away(launch: OnPremLaunch, hosts: Sequence[str]) -> dict[str, str]:
    """Return why each of `hosts` is not a node of Ray, by its address, as the machines show it within seconds."""
    # `launch.venv` is a plain path, whose ~ the shell expands (`cluster.spec.launch_spec.ShellPath`).
    script = f"head={launch.head.address} port={RAY_PORT} venv={launch.venv} token={TOKEN_FILE}{_LOOK}"
    said = on_workers(launch, f"bash -c {shlex.quote(script)}", hosts)
    logs = f"{shlex.quote(launch.env.get('RAY_TMPDIR', '/tmp'))}/ray/session_latest/logs"  # noqa: S108 - Ray's own default
    heads = on_head(launch, f"tail -n 2000 {logs}/monitor.out")
    failed = failed_on(heads.text) if heads.code == 0 else {}
    return {
        host: _reason(ended) + (f"; the head says: {failed[host]}" if host in failed else "")
        for host, ended in said.items()
    }


def failed_on(log: str) -> dict[str, str]:
    """Return what failed last on each machine, by its address, with the last line that the failed command printed.

    Args:
        log: the head's `monitor.out`, in which Ray's autoscaler tells how it sets machines up.
    """
    found: dict[str, str] = {}
    printed = ""
    for line in log.splitlines():
        failed = _FAILED.search(line)
        if failed:
            step = f"{failed['step']} failed".removeprefix("\x1b[0m")
            found[failed["host"]] = f"{step}: {printed}" if printed else step
        elif line.strip() and not _RAYS_OWN.search(line):
            printed = line.strip()[:300]
    return found


def _reason(ended: Said) -> str:
    lines = ended.text.splitlines()
    return lines[-1].strip() if lines else f"it does not say (exit code {ended.code})"
