"""Host names of a launch are looked up once, where they are known."""

import os
from pathlib import Path

import pytest

from cluster.launch.addresses import with_addresses
from cluster.spec.launch_spec import OnPremHead, OnPremLaunch, OnPremWorkers, SshSpec
from deployments.launch.host_names import look_up

# A head that knows names that this machine does not: it runs the command here, with a resolver of its own.
SSH = """#!/bin/bash
getent() { case $2 in
inside-1) echo 10.7.0.1 STREAM inside-1; echo 10.7.0.1 DGRAM ;;
head-only) echo 127.0.1.1 STREAM; echo fd00::7 STREAM; echo 10.7.0.9 STREAM ;;
esac; }
echo "Welcome to the head"
eval "${@: -1}"
"""


def launch_of(head: str, *hosts: str) -> OnPremLaunch:
    """Return a section with these machines."""
    return OnPremLaunch(
        provider="onprem",
        ssh=SshSpec(user="me", private_key="/k"),
        head=OnPremHead(address=head),
        workers=(OnPremWorkers(name="g", hosts=hosts, gpus=1),),
    )


@pytest.fixture
def head_with_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a head's resolver behind this machine's `ssh`."""
    program = tmp_path / "ssh"
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("head_with_names")
def test_names_that_only_the_head_knows_are_asked_there() -> None:
    """Loopback is no address of a machine for others, and one of the head's kind is taken where there are both."""
    launch = launch_of("10.7.0.2", "inside-1", "head-only", "10.7.0.4")
    addresses, problems = look_up(launch)
    assert (addresses, problems) == ({"inside-1": "10.7.0.1", "head-only": "10.7.0.9"}, [])
    assert with_addresses(launch, addresses).workers[0].hosts == ("10.7.0.1", "10.7.0.9", "10.7.0.4")
    assert look_up(launch_of("fd00::2", "head-only"))[0] == {"head-only": "fd00::7"}


@pytest.mark.usefixtures("head_with_names")
def test_a_name_that_nobody_knows_is_told_by_its_key() -> None:
    """With the names that are known left alone; addresses ask nobody."""
    addresses, (problem,) = look_up(launch_of("10.7.0.2", "inside-1", "nowhere.invalid"))
    assert addresses == {"inside-1": "10.7.0.1"}
    assert problem.path == "launch.workers[0].hosts[1]"
    assert "'nowhere.invalid'" in problem.message
    assert look_up(launch_of("10.7.0.2", "fd00::1")) == ({}, [])
