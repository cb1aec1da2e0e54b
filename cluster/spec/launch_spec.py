"""The cluster file's `launch:` section: the machines that `rackserve up` starts Ray on, and how it reaches them.

`provider` names the file in `cluster/launch/` that is filled in; each provider has keys of its own.
"""

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# These values end up in shell commands on the nodes, so they may hold only characters with no meaning to a shell.
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
    """How to log in to the nodes.

    Attributes:
        user: user name on every node.
        private_key: private key file on this machine; `ray up` copies it to the head, which uses it for the workers.
        proxy_command: ssh_config's `ProxyCommand`, for nodes that are reached through another machine; "": none.
    """

    user: Plain
    private_key: Annotated[str, Field(min_length=1)]
    proxy_command: str = ""


class _Workers(_Part):
    """A group of equal nodes.

    Attributes:
        name: name of the group.
        domain: NVLink domain that all of them share; unset: each node is a domain by itself.
        rack: rack that all of them are in; unset: each domain counts as a rack.
        labels: further Ray labels of each node.
    """

    name: Plain
    domain: Plain | None = None
    rack: Plain | None = None
    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)


class _Launch(_Part):
    """Settings that every provider has.

    Attributes:
        ssh: how to log in to the nodes.
        package: what pip installs on every node: a requirement, or a wheel on this machine; extras follow it, as in
            `dist/rackserve-0.1.0-py3-none-any.whl[gpu]`. Unset: RackServe is in `venv` already.
        venv: path of RackServe's virtual environment on every node; created where it is missing.
        python: Python command that creates the environment.
        setup_commands: shell commands to run on every node before the installation.
        env: environment variables of Ray on every node, and so of every replica.
        secrets: names of such variables whose values are those of this machine at the launch, such as `HF_TOKEN`. They
            go to the nodes in a file of their own; neither the cluster file nor the `ray up` file has them.
    """

    ssh: SshSpec
    package: str = ""
    venv: ShellPath = "~/rackserve"
    python: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/+-]+$")] = "python3"
    setup_commands: tuple[str, ...] = ()
    env: Mapping[EnvName, str] = Field(default_factory=dict)
    secrets: tuple[EnvName, ...] = ()


class OnPremHead(_Part):
    """The head node, which runs Ray's control plane and as a rule the gateways.

    Attributes:
        address: IPv4 address at which the workers reach it.
        external_address: IPv4 address at which this machine reaches it; unset: `address`.
        cpus: CPU cores on it that replicas may use; 0: replicas run on workers only.
    """

    address: Address
    external_address: Address | None = None
    cpus: Annotated[int, Field(ge=0, le=4096)] = 0


class OnPremWorkers(_Workers):
    """A group of equal machines that run already.

    Attributes:
        hosts: their IPv4 addresses, as the head reaches them.
        gpus: GPUs in each machine.
        cpus: CPU cores of each machine; unset: as many as Ray finds.
    """

    hosts: Annotated[tuple[Address, ...], Field(min_length=1)]
    gpus: Annotated[int, Field(ge=0, le=64)]
    cpus: Annotated[int, Field(ge=1, le=4096)] | None = None

    @property
    def count(self) -> int:
        """Number of machines."""
        return len(self.hosts)


class OnPremLaunch(_Launch):
    """Machines that run already and can be reached by SSH.

    Attributes:
        provider: `onprem`.
        head: the head node.
        workers: the groups of workers.
    """

    provider: Literal["onprem"]
    head: OnPremHead
    workers: Annotated[tuple[OnPremWorkers, ...], Field(min_length=1)]


class CloudHead(_Part):
    """The head node; it needs no GPU.

    Attributes:
        machine: its machine type.
        image: its boot image, needed where the workers have another processor architecture; unset: the workers' image.
    """

    machine: Plain
    image: str | None = None


class AwsWorkers(_Workers):
    """A group of machines of the type that the provider is named after.

    Attributes:
        count: number of machines. A rack's machines come from one reservation, so each rack is a group.
        reservation: id of the capacity reservation they are taken from; NVL72 racks need one.
        capacity_block: true: the reservation is a capacity block for ML; false: an on-demand capacity reservation.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    reservation: Annotated[str, Field(pattern=r"^cr-[0-9a-f]{8,17}$")] | None = None
    capacity_block: bool = True


class GcpWorkers(_Workers):
    """A group of machines of one type.

    Attributes:
        count: number of machines.
        machine: their machine type.
        reservation: name of the reservation they are taken from; unset: none.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    machine: Literal["a3-highgpu-8g", "a3-ultragpu-8g", "a4-highgpu-8g", "a4x-highgpu-4g"] = "a4-highgpu-8g"
    reservation: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")] | None = None


class AwsLaunch(_Launch):
    """Machines of Amazon EC2.

    Attributes:
        provider: which machines: `aws-p5` or `aws-gb300`.
        region: region, such as `us-east-2`.
        zone: availability zone of the subnet and the reservations, such as `us-east-2a`.
        image: AMI of the workers, with NVIDIA's driver and Python 3.11 or 3.12.
        key_name: name of the EC2 key pair of `ssh.private_key`.
        subnet: subnet of all nodes; they reach one another in it.
        security_group: security group of all nodes. It must allow all traffic within the group, SSH from this machine
            and the gateway's port from the apps.
        head: the head node.
        workers: the groups of workers.
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
    """Machines of Google Compute Engine.

    Attributes:
        provider: `gcp`.
        project: id of the project.
        region: region, such as `us-central1`.
        zone: zone of the machines and reservations, such as `us-central1-a`.
        image: boot image of the workers, `projects/…/global/images/…`, with NVIDIA's driver and Python 3.11 or 3.12.
        subnet: subnet of all nodes, `projects/…/regions/…/subnetworks/…`.
        head: the head node.
        workers: the groups of workers.
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
"""The `launch:` section; its `provider` tells which of the three classes it is."""
