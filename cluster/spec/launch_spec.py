"""The cluster file's `launch:` section: which machines `rackserve up` starts Ray on, and how it reaches them.

`provider` names the file of this folder that is filled in; each has keys of its own.
"""

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# What ends up in a shell command on the nodes is restricted to characters the shell takes as they are.
Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
ShellPath = Annotated[str, Field(pattern=r"^(~|/)[A-Za-z0-9._/+-]*$")]
LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _is_address(value: str) -> str:
    try:
        IPv4Address(value)
    except AddressValueError:
        raise ValueError(f"must be an IPv4 address such as 10.0.0.11; got {value!r}") from None
    return value


Address = Annotated[str, AfterValidator(_is_address)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SshSpec(_Part):
    """How nodes are logged in to.

    Attributes:
        user: on every node.
        private_key: a file on this machine. `ray up` copies it to the head, which logs in to the workers with it.
        proxy_command: as in ssh_config, where nodes are reached through another machine.
    """

    user: Plain
    private_key: Annotated[str, Field(min_length=1)]
    proxy_command: str = ""


class _Workers(_Part):
    """Nodes alike.

    Attributes:
        name: of the group.
        domain: the NVLink domain all of them share; unset: each node is a domain of its own.
        rack: where they stand; unset: each domain is a rack of its own.
        labels: further Ray labels of each node.
    """

    name: Plain
    domain: Plain | None = None
    rack: Plain | None = None
    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)


class _Launch(_Part):
    """What every provider needs.

    Attributes:
        ssh: how nodes are logged in to.
        package: what pip installs on every node: a requirement, or a wheel on this machine; extras go behind it, as in
            `dist/rackserve-0.1.0-py3-none-any.whl[gpu]`. Unset: RackServe is in `venv` already.
        venv: RackServe's virtual environment on every node, made when it is not there.
        python: makes that environment.
        setup_commands: run on every node before the installation, each in a shell.
        env: environment variables of Ray and so of every replica, on every node.
    """

    ssh: SshSpec
    package: str = ""
    venv: ShellPath = "~/rackserve"
    python: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/+-]+$")] = "python3"
    setup_commands: tuple[str, ...] = ()
    env: Mapping[EnvName, str] = Field(default_factory=dict)


class OnPremHead(_Part):
    """The head: Ray's control plane, and as a rule the gateways.

    Attributes:
        address: at which the workers reach it.
        external_address: at which this machine reaches it, where that is another one.
        cpus: that replicas may use; 0: they run on workers only.
    """

    address: Address
    external_address: Address | None = None
    cpus: Annotated[int, Field(ge=0, le=4096)] = 0


class OnPremWorkers(_Workers):
    """Machines at hand.

    Attributes:
        hosts: their addresses, as seen from the head.
        gpus: of each.
        cpus: of each; unset: what Ray finds.
    """

    hosts: Annotated[tuple[Address, ...], Field(min_length=1)]
    gpus: Annotated[int, Field(ge=0, le=64)]
    cpus: Annotated[int, Field(ge=1, le=4096)] | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.hosts)


class OnPremLaunch(_Launch):
    """Machines that run already and can be reached by SSH."""

    provider: Literal["onprem"]
    head: OnPremHead
    workers: Annotated[tuple[OnPremWorkers, ...], Field(min_length=1)]


class CloudHead(_Part):
    """The head; it needs no GPU.

    Attributes:
        machine: its type.
        image: its boot image; unset: the workers'. Differs where the workers' processors are of another architecture.
    """

    machine: Plain
    image: str | None = None


class AwsWorkers(_Workers):
    """Machines of the type that the provider is named after.

    Attributes:
        count: how many. A rack's machines come from one reservation, so a rack is a group.
        reservation: of capacity, that they are taken from; a rack of NVL72 cannot be had without.
        capacity_block: the reservation is a capacity block for ML; false: an on-demand capacity reservation.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    reservation: Annotated[str, Field(pattern=r"^cr-[0-9a-f]{8,17}$")] | None = None
    capacity_block: bool = True


class GcpWorkers(_Workers):
    """Machines of one type.

    Attributes:
        count: how many.
        machine: their type.
        reservation: that they are taken from, by its name.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    machine: Literal["a3-highgpu-8g", "a3-ultragpu-8g", "a4-highgpu-8g", "a4x-highgpu-4g"] = "a4-highgpu-8g"
    reservation: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")] | None = None


class AwsLaunch(_Launch):
    """Amazon EC2.

    Attributes:
        region: such as `us-east-2`.
        zone: such as `us-east-2a`: of subnet and reservations.
        image: AMI of the workers: NVIDIA's driver, Python 3.11 or 3.12.
        key_name: the EC2 key pair that `ssh.private_key` is of.
        subnet: of all nodes; they reach one another in it.
        security_group: of all nodes: all traffic within the group, SSH from here, the gateway's port from the apps.
    """

    provider: Literal["aws-p5", "aws-gb300"]
    region: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[a-z]+)+-[0-9]$")]
    zone: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[a-z0-9]+)+$")]
    image: Annotated[str, Field(pattern=r"^ami-[0-9a-f]{8,17}$")]
    key_name: Annotated[str, Field(min_length=1, max_length=255)]
    subnet: Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]
    security_group: Annotated[str, Field(pattern=r"^sg-[0-9a-f]{8,17}$")]
    head: CloudHead
    workers: Annotated[tuple[AwsWorkers, ...], Field(min_length=1)]


class GcpLaunch(_Launch):
    """Google Compute Engine.

    Attributes:
        project: its id.
        region: such as `us-central1`.
        zone: such as `us-central1-a`: of the machines and reservations.
        image: boot image of the workers, `projects/…/global/images/…`: NVIDIA's driver, Python 3.11 or 3.12.
        subnet: `projects/…/regions/…/subnetworks/…`, of all nodes.
    """

    provider: Literal["gcp"]
    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
    region: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")]
    zone: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z]$")]
    image: Annotated[str, Field(pattern=r"^projects/[a-z0-9:.-]+/global/images/(family/)?[a-z0-9-]+$")]
    subnet: Annotated[str, Field(pattern=r"^projects/[a-z0-9:.-]+/regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+$")]
    head: CloudHead
    workers: Annotated[tuple[GcpWorkers, ...], Field(min_length=1)]


LaunchSpec = Annotated[OnPremLaunch | AwsLaunch | GcpLaunch, Field(discriminator="provider")]
"""The section; `provider` says which of the three it is."""
