"""Says why machines of a launch have not joined Ray, by looking at them: the autoscaler tries again without a word."""

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
_HEADS_LOG: Final = (
    "grep -ahE -A 3 ' (ERR|PANIC) |[Ee]rror|failed' /tmp/ray/session_latest/logs/monitor.out | tail -n 4"
)


def why_away(launch: OnPremLaunch, hosts: Sequence[str]) -> dict[str, str]:
    """Return why each of `hosts` is not a node of Ray, by its address, as the machines show it within seconds."""
    # `launch.venv` is a plain path, whose ~ the shell expands (`cluster.spec.launch_spec.ShellPath`).
    script = f"head={launch.head.address} port={RAY_PORT} venv={launch.venv} token={TOKEN_FILE}{_LOOK}"
    said = on_workers(launch, f"bash -c {shlex.quote(script)}", hosts)
    return {host: _reason(ended) for host, ended in said.items()}


def heads_last_words(launch: OnPremLaunch) -> list[str]:
    """Return the last lines in which the head's autoscaler tells of a failure; usually what a setup command printed."""
    ended = on_head(launch, _HEADS_LOG)
    return [line.strip()[:300] for line in ended.text.splitlines() if line.strip()] if ended.code == 0 else []


def _reason(ended: Said) -> str:
    lines = ended.text.splitlines()
    return lines[-1].strip() if lines else f"it does not say (exit code {ended.code})"
