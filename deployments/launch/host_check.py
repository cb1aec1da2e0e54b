"""Checks, before anything starts, that the machines of an on-premises cluster can be used."""

from cluster.errors import SpecError, SpecProblem
from cluster.spec.launch_spec import OnPremLaunch
from deployments.launch.ssh_hosts import Said, on_every_worker, on_head, workers_by_key

SSH_FAILED = 255
"""Exit code with which `ssh` reports its own failure, not the command's."""
_LOOK = "command -v rsync >/dev/null || { echo 'the program rsync is not installed'; exit 3; }"


def check_hosts(launch: OnPremLaunch, source: str) -> None:
    """Log in to every machine, in the way that Ray will.

    Args:
        launch: the cluster file's `launch` section.
        source: the cluster file's name, for errors.

    Raises:
        SpecError: machines cannot be used; lists each by its key.
    """
    head = on_head(launch, _LOOK)
    if head.code:
        key = "launch.head.external_address" if launch.head.external_address else "launch.head.address"
        address = launch.head.external_address or launch.head.address
        raise SpecError(source, [SpecProblem(key, _why(launch, address, head))])
    hosts = workers_by_key(launch)
    said = on_every_worker(launch, _LOOK)
    problems = [SpecProblem(key, _why(launch, hosts[key], ended)) for key, ended in said.items() if ended.code]
    if problems:
        raise SpecError(source, problems)


def _why(launch: OnPremLaunch, address: str, said: Said) -> str:
    last = said.text.splitlines()[-1].strip() if said.text else f"exit code {said.code}"
    if said.code == SSH_FAILED:
        return f"{address}: no login as {launch.ssh.user!r} with {launch.ssh.private_key}: {last}"
    return f"{address}: {last}"
