"""Makes a cluster file's `ray up` file on this machine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from cluster.errors import SpecError, SpecProblem
from cluster.launch.addresses import with_addresses
from cluster.launch.package import Package
from cluster.launch.problems import launch_problems
from cluster.launch.render import render, secrets_text, template_name
from cluster.planning.disk_room import disk_bytes
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.launch_spec import LaunchSpec, OnPremLaunch
from deployments.launch.host_names import look_up
from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.source import cache_folder
from deployments.process.read_file import read_text
from deployments.replica.cluster_rules import cluster_rules

_AWS_CLIENT = ("boto3", "boto3")
_CLIENTS = {
    "aws-p5": _AWS_CLIENT,
    "aws-gb300": _AWS_CLIENT,
    "gcp": ("googleapiclient", "google-api-python-client google-auth-httplib2"),
}
"""The module that Ray imports here for each provider, and the packages that contain it (extras `aws` and `gcp`)."""


class LaunchFile:
    """A cluster file that can be launched by `ray up`.

    Args:
        file: the cluster file.

    Raises:
        SpecError: the file cannot be read, has mistakes, or asks for more than its machines have; lists all of them.

    Attributes:
        file: the cluster file.
        spec: its content.
        launch: its `launch` section, with this machine's paths made absolute for `ray up` and hosts' addresses in place
            of their names.
        addresses: the address of each host name in the file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.spec: ClusterSpec = cluster_file.load(read_text(file), str(file), cluster_rules)
        launch = self.spec.launch
        unknown: Sequence[SpecProblem] = ()
        self.addresses: Mapping[str, str] = {}
        if launch is not None:
            launch = _with_absolute_paths(launch, file.resolve().parent)
        if isinstance(launch, OnPremLaunch):
            self.addresses, unknown = look_up(launch)
            launch = with_addresses(launch, self.addresses)
        resolved = self.spec.model_copy(update={"launch": launch})
        problems = [*unknown, *launch_problems(resolved), *_local_folders(self.spec, file.resolve().parent)]
        if problems or launch is None:
            raise SpecError(str(file), problems)
        self.launch: LaunchSpec = launch

    def check_this_machine(self) -> None:
        """Check that this machine has what a launch needs: the key, the wheel, programs and the cloud's client.

        Raises:
            SpecError: something is missing; lists all of it.
        """
        problems = list(_missing_here(self.launch))
        if problems:
            raise SpecError(str(self.file), problems)

    @property
    def text(self) -> str:
        """The content of the `ray up` file."""
        return self._rendered(forget=False)

    def _rendered(self, *, forget: bool) -> str:
        template = files("cluster.launch").joinpath(template_name(self.launch)).read_text(encoding="utf-8")
        weights_bytes = disk_bytes(self.spec.in_pools())
        return render(
            self.spec.cluster.name,
            self.launch,
            template,
            source=str(self.file),
            weights_bytes=weights_bytes,
            secrets_file=str(self.secrets_path),
            names=self.addresses,
            forget=forget,
        )

    @property
    def path(self) -> Path:
        """The path of the `ray up` file: one per cluster name, so that `down` finds what `up` launched."""
        return cache_folder() / "launch" / f"{self.spec.cluster.name}.yaml"

    @property
    def secrets_path(self) -> Path:
        """The path of the file with the values of `launch.secrets`, for this user alone."""
        return self.path.with_suffix(".env")

    def write(self, *, forget: bool = False) -> Path:
        """Write the `ray up` file, and that of the secrets if there are any; return the first one's path.

        Args:
            forget: a head that is started with it forgets what an earlier one knew.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.launch.secrets:
            self.secrets_path.unlink(missing_ok=True)
            descriptor = os.open(self.secrets_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets_text(self.launch, os.environ))
        self.path.write_text(self._rendered(forget=forget), encoding="utf-8")
        return self.path


def _local_folders(spec: ClusterSpec, folder: Path) -> Iterator[SpecProblem]:
    for position, model in enumerate(spec.models):
        source = Path(model.source)
        if model.source in BUILTIN_MODELS or not model.source or source.is_absolute():
            continue
        if (folder / source).is_dir():
            where = f"models[{position}].source"
            message = "is a folder beside the cluster file, which the nodes do not have; give a path on every node"
            yield SpecProblem(where, f"{model.source!r} {message}")


def _with_absolute_paths(launch: LaunchSpec, folder: Path) -> LaunchSpec:
    key = (folder / Path(launch.ssh.private_key).expanduser()).resolve()
    package = Package.of(launch.package)
    wheel = str((folder / Path(package.file).expanduser()).resolve()) + launch.package.removeprefix(package.file)
    return launch.model_copy(
        update={
            "ssh": launch.ssh.model_copy(update={"private_key": str(key)}),
            "package": wheel if package.file else launch.package,
        }
    )


def _missing_here(launch: LaunchSpec) -> Iterator[SpecProblem]:
    for position, name in enumerate(launch.secrets):
        if name not in os.environ:
            yield SpecProblem(f"launch.secrets[{position}]", f"{name} is not set in the environment of this command")
    if not Path(launch.ssh.private_key).is_file():
        yield SpecProblem("launch.ssh.private_key", f"there is no file {launch.ssh.private_key}")
    wheel = Package.of(launch.package).file
    if wheel and not Path(wheel).is_file():
        yield SpecProblem("launch.package", f"there is no file {wheel}")
    for program in ("ssh", "rsync"):
        if which(program) is None:
            yield SpecProblem("launch.provider", f"needs the program {program}, which is not on this machine's PATH")
    module, packages = _CLIENTS.get(launch.provider, ("", ""))
    if module and find_spec(module) is None:
        message = f"{launch.provider} needs the Python package {module} here: pip install {packages}"
        yield SpecProblem("launch.provider", message)
