"""The cluster file's `launch:` section: the machines that `rackserve up` starts Ray on, and how it reaches them.

`provider` names the file in `cluster/launch/` that is filled in; each provider has keys of its own.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from cluster.spec.parts.host import Host
from cluster.spec.parts.part import Part

# These values end up in shell commands on the nodes, so they may hold only characters with no meaning to a shell.
Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
ShellPath = Annotated[str, Field(pattern=r"^(~|/)[A-Za-z0-9._/+-]*$")]
LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
InstanceProfile = Annotated[
    str, Field(pattern=r"^([A-Za-z0-9+=,.@_-]{1,128}|arn:aws[a-z-]*:iam::[0-9]{12}:instance-profile/[\w+=,.@/-]+)$")
]
ServiceAccount = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*@[a-z0-9.-]+\.gserviceaccount\.com$")]
DiskGib = Annotated[int, Field(ge=20, le=65_536)]


class SshSpec(Part):
    """How to log in to the nodes.

    Attributes:
        user: user name on every node.
        private_key: private key file on this machine; `ray up` copies it to the head, which uses it for the workers.
        proxy_command: ssh_config's `ProxyCommand`, for nodes that are reached through another machine; "": none.
    """

    user: Plain
    private_key: Annotated[str, Field(min_length=1)]
    proxy_command: str = ""


class _Workers(Part):
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


class _Launch(Part):
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


class OnPremHead(Part):
    """The head node, which runs Ray's control plane and as a rule the gateways.

    Attributes:
        address: address or host name at which the workers reach it.
        external_address: address or host name at which this machine reaches it; unset: `address`.
        cpus: CPU cores on it that replicas may use; 0: replicas run on workers only.
    """

    address: Host
    external_address: Host | None = None
    cpus: Annotated[int, Field(ge=0, le=4096)] = 0


class OnPremWorkers(_Workers):
    """A group of equal machines that run already.

    Attributes:
        hosts: their addresses or host names, as the head reaches them.
        gpus: GPUs in each machine.
        cpus: CPU cores of each machine; unset: as many as Ray finds.
    """

    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
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


class CloudHead(Part):
    """The head node; it needs no GPU.

    Attributes:
        machine: its machine type.
        image: its boot image, needed where the workers have another processor architecture; unset: the workers' image.
        disk_gib: GiB of its disk; unset: as in the provider's file.
    """

    machine: Plain
    image: str | None = None
    disk_gib: DiskGib | None = None


class AwsHead(CloudHead):
    """The head node on AWS.

    Attributes:
        instance_profile: name or ARN of its instance profile, which must allow it to start and tag instances and, where
            workers have a profile, to pass its role on (`iam:PassRole`); unset: the one that Ray makes.
    """

    instance_profile: InstanceProfile | None = None


class GcpHead(CloudHead):
    """The head node on Google Cloud.

    Attributes:
        service_account: e-mail address of its service account, which must be able to start instances; unset: the one
            that Ray makes.
    """

    service_account: ServiceAccount | None = None


class AwsWorkers(_Workers):
    """A group of machines of the type that the provider is named after.

    Attributes:
        count: number of machines. A rack's machines come from one reservation, so each rack is a group.
        reservation: id of the capacity reservation they are taken from; NVL72 racks need one.
        capacity_block: true: the reservation is a capacity block for ML; false: an on-demand capacity reservation.
        disk_gib: GiB of each machine's disk; unset: room for the weights beside the system.
        instance_profile: name or ARN of their instance profile, by which replicas may read S3; unset: none.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    reservation: Annotated[str, Field(pattern=r"^cr-[0-9a-f]{8,17}$")] | None = None
    capacity_block: bool = True
    disk_gib: DiskGib | None = None
    instance_profile: InstanceProfile | None = None


class GcpWorkers(_Workers):
    """A group of machines of one type.

    Attributes:
        count: number of machines.
        machine: their machine type.
        reservation: name of the reservation they are taken from; unset: none.
        disk_gib: GiB of each machine's disk; unset: room for the weights beside the system.
        service_account: e-mail address of their service account, by which replicas may read buckets; unset: none.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    machine: Literal["a3-highgpu-8g", "a3-ultragpu-8g", "a4-highgpu-8g", "a4x-highgpu-4g"] = "a4-highgpu-8g"
    reservation: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")] | None = None
    disk_gib: DiskGib | None = None
    service_account: ServiceAccount | None = None


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
    head: AwsHead
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
    head: GcpHead
    workers: Annotated[tuple[GcpWorkers, ...], Field(min_length=1)]


LaunchSpec = Annotated[OnPremLaunch | AwsLaunch | GcpLaunch, Field(discriminator="provider")]
"""The `launch:` section; its `provider` tells which of the three classes it is."""
