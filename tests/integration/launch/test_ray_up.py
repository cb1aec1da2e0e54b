"""`rackserve up` for real: Ray over SSH onto three machines, from one cluster file to an answer and back to nothing."""

import sys

import httpx
import pytest

from tests.integration.launch.launcher import GANG, RACKSERVE, REAL_MODEL, Launcher
from tests.integration.launch.netns_hosts import NetnsHosts

MOVED_S = 120.0
"""9 s until Ray knows of the death, and a few for the gang; more on a machine that is busy with other tests."""


def test_a_machine_that_cannot_be_reached_is_named_before_anything_starts(hosts: NetnsHosts) -> None:
    """A worker whose cable is out, and then a login that nobody has: the key at fault, exit code 2, nothing started."""
    launcher = Launcher(hosts)
    hosts.cut(launcher.workers[1])
    ended = launcher.run("up", str(launcher.file))
    assert ended.returncode == 2, ended.stderr
    assert f"launch.workers[1].hosts[0]: {launcher.workers[1].address}: no login as 'root'" in ended.stderr
    assert "workers[0]" not in ended.stderr
    hosts.heal(launcher.workers[1])
    launcher.file.write_text(launcher.text.replace("user: root", "user: nobody-here"), encoding="utf-8")
    ended = launcher.run("up", str(launcher.file))
    assert ended.returncode == 2
    assert f"launch.head.address: {launcher.head.address}: no login as 'nobody-here'" in ended.stderr
    assert [host.processes() for host in hosts.hosts] == [[], [], []]


def test_machines_without_room_for_the_weights_are_named_before_anything_starts(hosts: NetnsHosts) -> None:
    """Each worker's own disk is looked at, over SSH; a model of 707 GB has no room in a memory's file system."""
    launcher = Launcher(hosts)
    text = launcher.text.replace(f"source: {REAL_MODEL}", "source: deepseek-ai/DeepSeek-R1")
    text = text.replace("  gpus_per_replica: 0\n", "").replace("env: {", "env: {HF_HOME: /dev/shm/huggingface, ")
    launcher.file.write_text(text, encoding="utf-8")
    ended = launcher.run("up", str(launcher.file))
    assert ended.returncode == 2, ended.stderr
    assert "deepseek-ai/DeepSeek-R1 takes 707 GB on the disk of each machine" in ended.stderr
    for worker in launcher.workers:
        assert f"{worker.address} has " in ended.stderr
    assert [host.processes() for host in hosts.hosts] == [[], [], []]


def test_why_a_machine_has_not_joined_is_looked_up_on_it(hosts: NetnsHosts) -> None:
    """No environment, no token, no way to the head, a cable that is out: each said of the machine that it holds for."""
    launcher = Launcher(hosts)
    first, second = launcher.workers
    with_ray = f"venv: {sys.prefix}"
    missing = launcher.text.replace(with_ray, f"venv: {hosts.folder}/nowhere")
    assert launcher.why_away(missing, first) == [
        f"there is no {hosts.folder}/nowhere/bin/ray: its setup commands have not run to their end"
    ]
    assert launcher.why_away(launcher.text, first) == ["the head has not copied ~/.rackserve/ray_token there yet"]
    (first.home / ".rackserve").mkdir()
    (first.home / ".rackserve" / "ray_token").write_text("0" * 64)
    hosts.cut(second)
    told = launcher.why_away(launcher.text, first, second)
    assert told[0] == f"it cannot reach the head at {launcher.head.address}:6379"
    assert "No route to host" in told[1] or "timed out" in told[1] or "closed" in told[1]


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_what_another_ray_left_behind_does_not_count(hosts: NetnsHosts) -> None:
    """READY, and an answer, on machines where a user ran Ray before.

    The head's user has a token file, which alone makes a head ask for tokens, and a login shell that names another
    cluster and token; one worker's user has another token file. Ray asks for the token that the launch made, which
    nobody else can read.
    """
    launcher = Launcher(hosts)
    launcher.simulate_only()
    for host, token in ((launcher.head, "a" * 64), (launcher.workers[1], "b" * 64)):
        (host.home / ".ray").mkdir()
        (host.home / ".ray" / "auth_token").write_text(token, encoding="ascii")
    with (launcher.head.home / ".bash_profile").open("a", encoding="utf-8") as profile:
        profile.write(f"export RAY_ADDRESS=10.0.0.99:6379 RAY_AUTH_TOKEN={'c' * 64}\n")
    current = launcher.head.folder / "tmp" / "ray" / "ray_current_cluster"
    current.parent.mkdir()
    current.write_text("10.0.0.99:6379", encoding="ascii")

    assert launcher.up() == launcher.url
    assert launcher.chat(GANG).json()["usage"]["completion_tokens"] == 8
    tokens = [host.home / ".rackserve" / "ray_token" for host in hosts.hosts]
    assert len({token.read_text(encoding="ascii") for token in tokens}) == 1
    assert {oct(token.stat().st_mode & 0o777) for token in tokens} == {"0o600"}
    launcher.down()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_machines_that_do_not_join_are_named_with_the_reason(hosts: NetnsHosts) -> None:
    """A setup command that fails on the workers alone: both are named, with what it said, soon after the head is up."""
    launcher = Launcher(hosts)
    launcher.simulate_only()
    setup = "setup_commands: ['test ! -e ~/full || { echo the disk is full >&2; exit 7; }']"
    launcher.file.write_text(launcher.text.replace("launch:\n", f"launch:\n  {setup}\n"), encoding="utf-8")
    for worker in launcher.workers:
        (worker.home / "full").write_text("")
    with launcher.start("up", str(launcher.file)) as process:
        assert process.stderr is not None
        try:
            said: list[str] = []
            for line in process.stderr:
                said.append(line.strip())
                if sum("the disk is full" in each for each in said) == len(launcher.workers):
                    break
        finally:
            process.kill()
    text = "\n".join(said)
    assert f"machines that have not joined: {', '.join(worker.address for worker in launcher.workers)}" in text
    assert "nothing of Ray runs there; the head says: Setup commands failed: the disk is full" in text
    launcher.down()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_ready_says_which_machines_are_missing_and_why(hosts: NetnsHosts) -> None:
    """A gang stands on one rack while the other's setup fails: the last lines before READY name it with the reason.

    So does `rackserve status` on the head, for as long as it is away.
    """
    launcher = Launcher(hosts)
    launcher.simulate_only()
    setup = "setup_commands: ['test ! -e ~/full || { echo the disk is full >&2; exit 7; }']"
    launcher.file.write_text(launcher.text.replace("launch:\n", f"launch:\n  {setup}\n"), encoding="utf-8")
    _, lost = launcher.workers
    (lost.home / "full").write_text("")
    ended = launcher.run("up", str(launcher.file))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == f"READY {launcher.url}"
    (*_, head, reason) = ended.stderr.splitlines()
    assert "ready without machines that have not joined (1):" in head
    assert reason.strip().startswith(f"{lost.address}: ")
    assert "the disk is full" in reason
    status = launcher.on_head(RACKSERVE, "status", "--address", "auto")
    assert f"has not joined: {lost.address}: Setup commands failed: the disk is full" in status
    launcher.down()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_machines_with_ipv6_addresses(hosts: NetnsHosts) -> None:
    """From `up` to an answer and to `down`, with IPv6 all the way: ssh, rsync, Ray, gateway, replica, the URL."""
    launcher = Launcher(hosts)
    launcher.simulate_only()
    launcher.by_ipv6()
    ended = launcher.run("up", str(launcher.file))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == f"READY {launcher.url}"
    assert "not joined" not in ended.stderr.splitlines()[-1]
    assert launcher.chat(GANG).json()["usage"]["completion_tokens"] == 8
    assert f"[{launcher.workers[0].address_ipv6[:8]}" in launcher.on_head(RACKSERVE, "status", "--address", "auto")
    launcher.down()
    assert [host.processes() for host in hosts.hosts] == [[], [], []]


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_from_one_file_to_an_answer_through_a_cut_link_and_back_to_nothing(hosts: NetnsHosts) -> None:
    """A gang of four GPUs and a real model, launched on two racks, asked through the head's address.

    The rack that has the gang loses its link: the gang answers from the other rack, and the real model has answered all
    the while. The link heals, `rackserve up` once more changes nothing that serves, and `rackserve down` leaves no
    process on any machine.
    """
    launcher = Launcher(hosts)
    assert launcher.up() == launcher.url
    question = "What is the capital of France?"
    answer = launcher.chat(REAL_MODEL, question, temperature=0, max_tokens=16).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert launcher.chat(GANG).json()["usage"]["completion_tokens"] == 8

    (first,) = launcher.hosts_of_gang(GANG)
    broken = launcher.replica_of(GANG)
    hosts.cut(first)
    assert launcher.chat(REAL_MODEL, question, max_tokens=1).is_success
    launcher.seconds_to_first_token(GANG, MOVED_S, other_than=broken)
    (second,) = launcher.hosts_of_gang(GANG)
    assert {first, second} == set(launcher.workers)

    hosts.heal(first)
    before = [launcher.replica_of(model) for model in (GANG, REAL_MODEL)]
    assert launcher.up() == launcher.url
    assert [launcher.replica_of(model) for model in (GANG, REAL_MODEL)] == before

    launcher.down()
    assert [host.processes() for host in hosts.hosts] == [[], [], []]
    with pytest.raises(httpx.ConnectError):
        launcher.chat(GANG)
