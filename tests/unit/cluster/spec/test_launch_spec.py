"""The cluster file's `launch:` section: every mistake is named by its key and line."""

import pytest

from cluster.errors import SpecError
from cluster.spec import cluster_file
from cluster.spec.launch_spec import AwsLaunch, OnPremLaunch

MODELS = "models: [{name: a, engine: sim}]\n"
ONPREM = """
launch:
  provider: onprem
  ssh: {user: ubuntu, private_key: ~/.ssh/id_ed25519}
  head: {address: 10.0.0.1}
  workers:
  - {name: rack-0, domain: rack-0, hosts: [10.0.0.11, 10.0.0.12], gpus: 4}
"""
AWS = """
launch:
  provider: aws-gb300
  region: us-east-2
  zone: us-east-2a
  image: ami-0123456789abcdef0
  key_name: me
  subnet: subnet-0123456789abcdef0
  security_group: sg-0123456789abcdef0
  ssh: {user: ubuntu, private_key: ~/.ssh/me.pem}
  head: {machine: m7g.4xlarge}
  workers:
  - {name: rack-0, domain: rack-0, count: 18, reservation: cr-0123456789abcdef0}
"""


def problems(text: str) -> str:
    """Return what is wrong with a cluster file."""
    with pytest.raises(SpecError) as caught:
        cluster_file.load(MODELS + text, "f")
    return str(caught.value)


def test_the_provider_says_which_keys_there_are() -> None:
    """Each provider has keys of its own, and one cluster file reads into its class."""
    onprem, aws = cluster_file.load(MODELS + ONPREM, "f").launch, cluster_file.load(MODELS + AWS, "f").launch
    assert isinstance(onprem, OnPremLaunch)
    assert onprem.workers[0].count == 2
    assert isinstance(aws, AwsLaunch)
    assert aws.workers[0].count == 18


def test_a_provider_that_is_missing_or_unknown_is_named_with_what_there_is() -> None:
    """The key at fault is `launch.provider`, in both cases."""
    known = "one of 'onprem', 'aws-p5', 'aws-gb300', 'gcp'"
    assert f"launch.provider: missing: {known}" in problems("launch: {}")
    assert f'launch.provider: must be {known}; got "azure" (line 2)' in problems("launch: {provider: azure}")


@pytest.mark.parametrize(
    ("was", "put", "problem"),
    [
        (
            "10.0.0.12",
            "10.0.0.256",
            "launch.workers[0].hosts[1]: must be an address such as 10.0.0.11 or fd00::11, or a host name; got",
        ),
        ("10.0.0.12", "'a b; reboot'", "launch.workers[0].hosts[1]: must be an address such as"),
        ("10.0.0.12", "'fe80::1%eth0'", "launch.workers[0].hosts[1]: must be an address that all machines can reach"),
        ("gpus: 4", "gpu: 4", "launch.workers[0].gpu: unknown key; did you mean 'gpus'?"),
        ("gpus: 4", "reservation: cr-1", "launch.workers[0].gpus: missing"),
        ("address: 10.0.0.1", "adress: 10.0.0.1", "launch.head.address: missing"),
        ("user: ubuntu", "user: 'a b'", "launch.ssh.user: must match"),
        ("name: rack-0", "name: rack 0; reboot", "launch.workers[0].name: must match"),
        ("workers:", "regoin: x\n  workers:", "launch.regoin: unknown key; known here: ssh, package"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(was: str, put: str, problem: str) -> None:
    """A key of another provider, a typo, an address that is none or is one card's alone: each at its own key."""
    assert problem in problems(ONPREM.replace(was, put))


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("'[FD00::0:1]'", "fd00::1"),
        ("'fd00::1'", "fd00::1"),
        ("'::ffff:10.0.0.9'", "10.0.0.9"),
        ("Node-7.Example.", "node-7.example"),
        ("4090-box", "4090-box"),
    ],
)
def test_machines_have_addresses_of_both_kinds_or_names(given: str, host: str) -> None:
    """Each in one form, so that two spellings of one machine are seen to be one."""
    launch = cluster_file.load(MODELS + ONPREM.replace("10.0.0.12", given), "f").launch
    assert isinstance(launch, OnPremLaunch)
    assert launch.workers[0].hosts == ("10.0.0.11", host)


@pytest.mark.parametrize(
    ("put", "problem"),
    [
        ("disk_gib: 10", "launch.workers[0].disk_gib: must be greater than or equal to 20"),
        ("instance_profile: 'my profile'", "launch.workers[0].instance_profile: must match"),
        ("instance_profile: 'arn:aws:iam::1:role/x'", "launch.workers[0].instance_profile: must match"),
        ("service_account: x", "launch.workers[0].service_account: unknown key"),
    ],
)
def test_disks_and_profiles_of_a_cloud_are_checked(put: str, problem: str) -> None:
    """A size that no image fits in, what is no profile, a key of another cloud."""
    assert problem in problems(AWS.replace("count: 18", f"count: 18, {put}"))


def test_hints_come_from_the_provider_that_was_named() -> None:
    """A typo in a key that only clouds have is recognised there."""
    assert "launch.regoin: unknown key; did you mean 'region'?" in problems(AWS.replace("region:", "regoin:"))
    assert "launch.workers[0].hosts: unknown key; known here: name, domain" in problems(AWS.replace("count", "hosts"))
