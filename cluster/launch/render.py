"""Fills in one of this folder's YAML files from the cluster file: the result is a complete `ray up` file.

The YAML files hold what is the same in every cluster, in Ray's own form. This module replaces their marks (`FILL_IN_…`)
and makes one node type of each group of workers.
"""

import copy
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import yaml

from cluster.launch.addresses import is_ipv6
from cluster.launch.disks import worker_disk_gib
from cluster.launch.fabric import as_environment, fabric_settings
from cluster.launch.machines import labels_of, machine_of
from cluster.launch.package import Package
from cluster.placement.node_labels import DOMAIN, NODE_GROUP
from cluster.ray_settings import AUTHENTICATION, LEFT_OVER, STATE_FOLDER
from cluster.spec.launch_spec import (
    AwsHead,
    AwsLaunch,
    AwsWorkers,
    GcpHead,
    GcpLaunch,
    GcpWorkers,
    LaunchSpec,
    OnPremLaunch,
    OnPremWorkers,
)
from cluster.spec.parts.host import as_label

MARK: Final = re.compile(r"FILL_IN_[A-Z_]+")
DEFAULT_VENV: Final = "~/rackserve"
SECRETS_FILE: Final = "~/.rackserve/launch_env"
"""Path of the file with the values of `launch.secrets` on every node."""
IPV6_PROVIDER: Final = "deployments.ray_api.ipv6_machines.Ipv6Machines"
"""Ray's provider of machines that exist, for IPv6, which Ray's own does not take; imported here and on the head."""
IPV6_NODE_TYPE: Final = "local.cluster.node"
"""What Ray calls the type of all machines that exist."""
FORGET: Final = f"rm -rf ~/{STATE_FOLDER}"
"""Shell command that takes away what Ray's head knows; for when none runs."""
Group = TypeVar("Group", AwsWorkers, GcpWorkers)
_GROUPS = re.compile(r"FILL_IN_WORKER_ADDRESS\).*?;;")


def template_name(launch: LaunchSpec) -> str:
    """Return the name of the file in this folder that `render` needs."""
    return f"{launch.provider}.yaml"


def render(  # noqa: PLR0913 - what one file is made of
    name: str,
    launch: LaunchSpec,
    template: str,
    *,
    source: str,
    weights_bytes: int = 0,
    secrets_file: str = "",
    names: Mapping[str, str] | None = None,
    forget: bool = False,
) -> str:
    """Return the `ray up` file.

    Args:
        name: name of the cluster.
        launch: the `launch:` section, with addresses in place of names; `ray up` opens its paths of the wheel and the
            private key as they are.
        template: content of the file that `template_name` names.
        source: path of the cluster file, for the first line.
        weights_bytes: what the models' weights take on the disk of a cloud's worker; 0: not known.
        secrets_file: path, on the machine that launches, of what `secrets_text` returned; for `launch.secrets`.
        names: the address of each name that the cluster file has, to be shown.
        forget: the head forgets at its start what an earlier one knew, so that the cluster is a new one.
    """
    config = yaml.safe_load(template)
    config["cluster_name"] = name
    marks = {"FILL_IN_SSH_USER": launch.ssh.user, "FILL_IN_SSH_PRIVATE_KEY": launch.ssh.private_key}
    if isinstance(launch, OnPremLaunch):
        _fill_onprem(config, launch)
        marks["FILL_IN_HEAD_ADDRESS"] = launch.head.address
    elif isinstance(launch, AwsLaunch):
        marks |= _fill_aws(config, launch, weights_bytes)
    else:
        marks |= _fill_gcp(config, launch, weights_bytes)
    if launch.ssh.proxy_command:
        config["auth"]["ssh_proxy_command"] = launch.ssh.proxy_command
        config["provider"].pop("use_external_head_ip", None)
    config = replaced(config, marks)
    config["setup_commands"] = setup_commands(launch)
    secrets = {SECRETS_FILE: secrets_file} if launch.secrets else {}
    if mounts := Package.of(launch.package).mounts | secrets:
        config["file_mounts"] = mounts
    if not isinstance(launch, OnPremLaunch):  # Ray has one command for all workers of a cloud
        fabric = _fabric(launch, launch.workers)
        config["worker_start_ray_commands"] = [
            command.replace("ulimit ", f"{fabric}ulimit ", 1) for command in config["worker_start_ray_commands"]
        ]
    if forget:  # between Ray's stop, which comes first, and its start
        config["head_start_ray_commands"].insert(1, FORGET)
    for key in ("head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        config[key] = [_on_this_cluster(command, launch) for command in config.get(key, ())]
    head = f"# `ray up` file of {source}, rendered by `rackserve up {source} --render`: change that and render again.\n"
    if isinstance(launch, OnPremLaunch):
        head += "# With Ray's own command: RAY_UP_enable_autoscaler_v2=0 ray up THIS_FILE\n"
    head += "".join(f"# {host} is {address}\n" for host, address in (names or {}).items())
    return head + yaml.dump(config, Dumper=_PlainDumper, sort_keys=False, width=1000, allow_unicode=True)


def setup_commands(launch: LaunchSpec) -> list[str]:
    """Return the shell commands that make RackServe's environment on a node; they are quick where it exists."""
    commands = list(launch.setup_commands)
    # `ray down`, `ray exec` and `ray attach` look for Ray on the PATH of a login shell.
    path = f"grep -qs {launch.venv}/bin ~/.bashrc || echo export PATH={launch.venv}/bin:\\$PATH >> ~/.bashrc"
    if not launch.package:
        missing = f"{launch.venv}/bin/rackserve is not there: install RackServe, or name a launch.package"
        return [*commands, f'test -x {launch.venv}/bin/rackserve || {{ echo "{missing}" >&2; exit 1; }}', path]
    package = Package.of(launch.package)
    commands.append(f"test -x {launch.venv}/bin/python || {launch.python} -m venv {launch.venv}")
    commands.append(f'{launch.venv}/bin/pip install --quiet "{package.argument}"')
    if package.file:  # pip would skip a rebuilt wheel, since its version is the same
        commands.append(f'{launch.venv}/bin/pip install --quiet --force-reinstall --no-deps "{package.argument}"')
    return [*commands, path]


def replaced(tree: Any, marks: Mapping[str, str]) -> Any:  # noqa: ANN401 - any YAML
    """Return `tree` with the marks in `marks` replaced in every text; other marks stay."""
    if isinstance(tree, dict):
        return {key: replaced(value, marks) for key, value in tree.items()}
    if isinstance(tree, list):
        return [replaced(value, marks) for value in tree]
    if isinstance(tree, str):
        return MARK.sub(lambda found: marks.get(found[0], found[0]), tree)
    return tree


def head_command(command: str, launch: LaunchSpec) -> str:
    """Return a shell command that runs RackServe's `command` on the head in the environment of Ray's start."""
    settings = " ".join(f"{key}={value}" for key, value in AUTHENTICATION.items())
    theirs = f" {_own_settings(launch)};" if launch.env or launch.secrets else ""
    return f"unset {' '.join(LEFT_OVER)}; export {settings};{theirs} {launch.venv}/bin/{command}"


def secrets_text(launch: LaunchSpec, environ: Mapping[str, str]) -> str:
    """Return the content of the file with the secrets, for a shell to read; `environ`: of the machine that launches."""
    return "".join(f"export {name}={shlex.quote(environ[name])}\n" for name in launch.secrets if name in environ)


def _own_settings(launch: LaunchSpec) -> str:
    """Return the shell commands that set what `launch.secrets` and `launch.env` say."""
    exported = " ".join(f"{key}={shlex.quote(value)}" for key, value in launch.env.items())
    return "; ".join([f". {SECRETS_FILE}"] * bool(launch.secrets) + [f"export {exported}"] * bool(exported))


def _on_this_cluster(command: str, launch: LaunchSpec) -> str:
    command = command.replace(f"{DEFAULT_VENV}/", f"{launch.venv}/")
    if (launch.env or launch.secrets) and " start " in command:
        command = command.replace("ulimit ", f"{_own_settings(launch)}; ulimit ", 1)  # after ours, so that theirs win
    return command


def _fill_onprem(config: dict[str, Any], launch: OnPremLaunch) -> None:
    provider = config["provider"]
    provider["worker_ips"] = [host for group in launch.workers for host in group.hosts]
    if launch.head.external_address:
        provider["external_head_ip"] = launch.head.external_address
    config["head_start_ray_commands"] = [
        command.replace("--num-cpus=0", f"--num-cpus={launch.head.cpus}")
        for command in config["head_start_ray_commands"]
    ]
    cases = " ".join(case for group in launch.workers for case in _cases(launch, group))
    config["worker_start_ray_commands"] = [
        _GROUPS.sub(lambda _found: cases, command) for command in config["worker_start_ray_commands"]
    ]
    if is_ipv6(launch):
        _fill_ipv6(config, launch)


def _fill_ipv6(config: dict[str, Any], launch: OnPremLaunch) -> None:
    """Have Ray use the provider that takes IPv6, with what it adds by itself for its own `local` provider."""
    count = len(config["provider"]["worker_ips"])
    config["provider"] |= {"type": "external", "module": IPV6_PROVIDER}
    node_type = {"node_config": {}, "resources": {}, "min_workers": count, "max_workers": count}
    config["available_node_types"] = {IPV6_NODE_TYPE: node_type}
    config |= {
        "head_node_type": IPV6_NODE_TYPE,
        "max_workers": count,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
    }
    config |= {"docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False}
    config |= {key: [] for key in ("initialization_commands", "head_setup_commands", "worker_setup_commands")}
    config |= {"rsync_exclude": [], "rsync_filter": []}
    if ":" in launch.head.address:
        config["worker_start_ray_commands"] = [
            command.replace("--address=$RAY_HEAD_IP:6379", '"--address=[$RAY_HEAD_IP]:6379"')
            for command in config["worker_start_ray_commands"]
        ]


def _cases(launch: OnPremLaunch, group: OnPremWorkers) -> list[str]:
    """Return the lines of the shell's `case` for a group: one, or one a machine where IPv6 is no label as it is."""
    if group.domain is None and ":" in group.hosts[0]:
        return [_case(launch, group, [host], as_label(host)) for host in group.hosts]
    return [_case(launch, group, group.hosts, "$3")]  # $3 is the node's own address


def _case(launch: OnPremLaunch, group: OnPremWorkers, hosts: Sequence[str], own_domain: str) -> str:
    labels = {NODE_GROUP: group.name, DOMAIN: own_domain, **labels_of(group)}
    options = [f"--num-gpus={group.gpus}", "--labels=" + ",".join(f"{key}={value}" for key, value in labels.items())]
    if group.cpus:
        options.append(f"--num-cpus={group.cpus}")
    return f'{"|".join(hosts)}) {_fabric(launch, [group])}group="{" ".join(options)}" ;;'


def _fabric(launch: LaunchSpec, groups: Sequence[OnPremWorkers | AwsWorkers | GcpWorkers]) -> str:
    """Return the shell command that exports what machines that share NVLink need; "": not all of `groups` do."""
    spans = [
        group.domain is not None and sum(other.count for other in launch.workers if other.domain == group.domain) > 1
        for group in groups
    ]
    settings = as_environment(fabric_settings(2 if spans and all(spans) else 1))
    return f"export {' '.join(f'{name}={value}' for name, value in settings.items())}; " if settings else ""


def _fill_aws(config: dict[str, Any], launch: AwsLaunch, weights_bytes: int) -> dict[str, str]:
    for node_type, group in _node_types(config, launch, launch.workers):
        node = node_type["node_config"]
        disk = node["BlockDeviceMappings"][0]["Ebs"]
        disk["VolumeSize"] = worker_disk_gib(group.disk_gib, disk["VolumeSize"], weights_bytes)
        node |= _profile(group)
        if group.reservation is None:
            del node["CapacityReservationSpecification"]
        if group.reservation is None or not group.capacity_block:
            del node["InstanceMarketOptions"]
        node_type["node_config"] = replaced(node, {"FILL_IN_RESERVATION": group.reservation or ""})
    head = config["available_node_types"]["head"]["node_config"]
    head |= {"InstanceType": launch.head.machine, **_profile(launch.head)}
    if launch.head.disk_gib:
        head["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] = launch.head.disk_gib
    return {
        "FILL_IN_REGION": launch.region,
        "FILL_IN_ZONE": launch.zone,
        "FILL_IN_IMAGE": launch.image,
        "FILL_IN_HEAD_IMAGE": launch.head.image or launch.image,
        "FILL_IN_KEY_NAME": launch.key_name,
        "FILL_IN_SUBNET": launch.subnet,
        "FILL_IN_SECURITY_GROUP": launch.security_group,
    }


def _fill_gcp(config: dict[str, Any], launch: GcpLaunch, weights_bytes: int) -> dict[str, str]:
    for node_type, group in _node_types(config, launch, launch.workers):
        node = node_type["node_config"]
        disk = node["disks"][0]["initializeParams"]
        disk["diskSizeGb"] = worker_disk_gib(group.disk_gib, disk["diskSizeGb"], weights_bytes)
        node |= _service_account(group)
        node["machineType"] = group.machine
        if group.reservation is None:
            del node["reservationAffinity"]
        node_type["node_config"] = replaced(node, {"FILL_IN_RESERVATION": group.reservation or ""})
    head = config["available_node_types"]["head"]["node_config"]
    head |= {"machineType": launch.head.machine, **_service_account(launch.head)}
    if launch.head.disk_gib:
        head["disks"][0]["initializeParams"]["diskSizeGb"] = launch.head.disk_gib
    return {
        "FILL_IN_PROJECT": launch.project,
        "FILL_IN_REGION": launch.region,
        "FILL_IN_ZONE": launch.zone,
        "FILL_IN_IMAGE": launch.image,
        "FILL_IN_HEAD_IMAGE": launch.head.image or launch.image,
        "FILL_IN_SUBNET": launch.subnet,
    }


def _profile(machine: AwsHead | AwsWorkers) -> dict[str, Any]:
    given = machine.instance_profile
    return {"IamInstanceProfile": {"Arn" if given.startswith("arn:") else "Name": given}} if given else {}


def _service_account(machine: GcpHead | GcpWorkers) -> dict[str, Any]:
    # What it may do is for its roles to say; scopes only narrow them.
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    return (
        {"serviceAccounts": [{"email": machine.service_account, "scopes": scopes}]} if machine.service_account else {}
    )


def _node_types(
    config: dict[str, Any], launch: LaunchSpec, groups: Sequence[Group]
) -> list[tuple[dict[str, Any], Group]]:
    """Replace the file's node type `workers` by one copy for each group, and return the copies with their groups."""
    types = config["available_node_types"]
    pattern = types.pop("workers")
    config["max_workers"] = sum(group.count for group in groups)
    made = []
    for group in groups:
        machine = machine_of(launch, group)
        node_type = copy.deepcopy(pattern)
        node_type |= {"min_workers": group.count, "max_workers": group.count, "labels": dict(labels_of(group))}
        node_type["resources"] = {"CPU": machine.cpus, "GPU": machine.gpus}
        types[group.name] = node_type
        made.append((node_type, group))
    return made


class _PlainDumper(yaml.SafeDumper):
    """Writes shared parts out in full, for people to read."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base class's signature
        """Write no aliases."""
        return True
