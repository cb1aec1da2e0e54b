"""`cluster/launch/`: its files are of Ray's kind, rendering leaves no mark, what cannot be launched is said first."""

import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.label_utils import parse_node_labels_string, validate_label_value, validate_node_labels
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.launch.fabric import MULTI_NODE_NVLINK, as_environment
from cluster.launch.problems import launch_problems
from cluster.launch.render import FORGET, MARK, head_command, render, secrets_text, setup_commands, template_name
from cluster.ray_settings import DEATH_TIMEOUTS, HEAD_AWAY, KEPT_STATE, PACE, STATE_FOLDER, TOKEN_FILE, UNSEEN
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.launch_spec import AwsLaunch, LaunchSpec

LAUNCH = files("cluster.launch")
PROVIDERS = ("onprem", "aws-p5", "aws-gb300", "gcp")
SIM_TP4 = "{name: sim, engine: sim, gpus_per_replica: 4, parallel: {tensor: 4}}"
SSH = "ssh: {user: ubuntu, private_key: /home/me/key}"
AWS = """
  region: us-east-2
  zone: us-east-2a
  image: ami-0123456789abcdef0
  key_name: me
  subnet: subnet-0123456789abcdef0
  security_group: sg-0123456789abcdef0
  head: {machine: m7i.4xlarge}
"""
SECTIONS = {
    "onprem": """
  head: {address: 10.0.0.1, external_address: 192.0.2.1}
  workers:
  - {name: r0, domain: rack-0, rack: row-1, hosts: [10.0.0.11, 10.0.0.12], gpus: 4}
  - {name: boxes, hosts: [10.0.0.21], gpus: 8, labels: {pool: small}}
""",
    "aws-p5": AWS
    + """
  workers:
  - {name: spot, count: 2}
  - {name: block, count: 3, reservation: cr-0123456789abcdef0}
""",
    "aws-gb300": AWS
    + """
  workers:
  - {name: rack-0, domain: rack-0, rack: rack-0, count: 18, reservation: cr-0123456789abcdef0}
  - {name: rack-1, domain: rack-1, rack: rack-1, count: 18, reservation: cr-0123456789abcdef1}
""",
    "gcp": """
  project: my-project
  region: us-central1
  zone: us-central1-a
  image: projects/my-project/global/images/gpu
  subnet: projects/my-project/regions/us-central1/subnetworks/default
  head: {machine: n4-standard-16, image: projects/my-project/global/images/family/plain}
  workers:
  - {name: boxes, count: 2, reservation: mine}
  - {name: rack-0, domain: rack-0, count: 18, machine: a4x-highgpu-4g}
""",
}


def spec_of(provider: str, *, was: str = "", put: str = "", models: str = SIM_TP4) -> ClusterSpec:
    """Return a cluster file with that provider's section, `was` in it replaced by `put`."""
    assert was in SECTIONS[provider]
    section = SECTIONS[provider].replace(was, put) if was else SECTIONS[provider]
    text = f"models: [{models}]\nlaunch:\n  provider: {provider}\n  {SSH}{section}"
    return cluster_file.load(text, "f.yaml")


def template(launch: LaunchSpec) -> str:
    """Return the file that a section is rendered from."""
    return LAUNCH.joinpath(template_name(launch)).read_text(encoding="utf-8")


def rendered(spec: ClusterSpec) -> tuple[str, dict[str, Any]]:
    """Return a spec's `ray up` file, as text and read."""
    assert spec.launch is not None
    text = render("racks", spec.launch, template(spec.launch), source="f.yaml")
    return text, yaml.safe_load(text)


def check_as_ray_does(config: dict[str, Any]) -> dict[str, Any]:
    """Hold a `ray up` file against Ray's own cluster schema (`ray-schema.json`), as `ray up` does."""
    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


def problems(spec: ClusterSpec) -> list[str]:
    """Return what keeps a spec from being launched."""
    return [f"{problem.path}: {problem.message}" for problem in launch_problems(spec)]


def test_each_file_of_the_folder_has_a_provider() -> None:
    """No file stands there that `rackserve up` does not know."""
    names = sorted(Path(entry.name).stem for entry in LAUNCH.iterdir() if entry.name.endswith(".yaml"))
    assert names == sorted(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_file_is_a_ray_up_file_as_it_stands(provider: str) -> None:
    """With its marks in it, it passes Ray's schema: nothing but the marked values is left to do."""
    text = LAUNCH.joinpath(f"{provider}.yaml").read_text(encoding="utf-8")
    assert MARK.search(text)
    config = check_as_ray_does(yaml.safe_load(text))
    assert config["provider"]["type"] == {"onprem": "local", "gcp": "gcp"}.get(provider, "aws")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rendering_fills_in_every_mark_and_passes_rays_schema(provider: str) -> None:
    """What the cluster file says is enough."""
    spec = spec_of(provider)
    assert problems(spec) == []
    text, config = rendered(spec)
    assert not MARK.search(text)
    assert "rackserve up f.yaml --render" in text.splitlines()[0]
    assert check_as_ray_does(config)["cluster_name"] == "racks"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_setting_up_by_hand_and_by_rackserve_is_the_same(provider: str) -> None:
    """The files' own `setup_commands` are what rendering writes for a package from an index."""
    launch = spec_of(provider).launch
    assert launch is not None
    by_hand = yaml.safe_load(template(launch))["setup_commands"]
    assert setup_commands(launch.model_copy(update={"package": "FILL_IN_PACKAGE"})) == by_hand


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_node_is_calm_while_nothing_happens(provider: str) -> None:
    """Head and workers of each file get the settings by which Ray's own processes look less often."""
    config = rendered(spec_of(provider))[1]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for setting in {**PACE, **UNSEEN}.items():
            assert f" {'='.join(setting)}" in config[key][-1]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_node_goes_on_for_an_hour_without_the_head(provider: str) -> None:
    """Head and workers of each file wait for a head that is away for an hour, and until it has started again."""
    config = rendered(spec_of(provider))[1]
    assert int(HEAD_AWAY["RAY_gcs_rpc_server_reconnect_timeout_s"]) >= 3600 + 1800
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for setting in HEAD_AWAY.items():
            assert f" {'='.join(setting)}" in config[key][-1]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_heads_keep_what_they_know(provider: str, tmp_path: Path) -> None:
    """On disk under the user's home, for heads alone; a cluster that begins anew forgets it, after Ray's stop."""
    spec = spec_of(provider)
    config = rendered(spec)[1]
    for setting in KEPT_STATE.items():
        assert f" {'='.join(setting)}" in config["head_start_ray_commands"][-1]
        assert setting[0] not in config["worker_start_ray_commands"][-1]
    launch = spec.launch
    assert launch is not None
    anew = yaml.safe_load(render("racks", launch, template(launch), source="f.yaml", forget=True))
    assert [each for each in anew["head_start_ray_commands"] if each not in config["head_start_ray_commands"]] == [
        FORGET
    ]
    assert anew["head_start_ray_commands"].index(FORGET) == 1
    assert anew["head_start_ray_commands"][0].endswith("ray stop")
    kept = tmp_path / STATE_FOLDER
    kept.mkdir(parents=True)
    subprocess.run(["bash", "-c", FORGET], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True)
    assert not kept.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_heads_see_a_nodes_death_in_time(provider: str) -> None:
    """Each file gives Ray the death timeouts that RackServe uses everywhere."""
    start = rendered(spec_of(provider))[1]["head_start_ray_commands"][-1]
    for setting in DEATH_TIMEOUTS.items():
        assert "=".join(setting) in start


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_another_ray_left_counts_on_no_node(provider: str, tmp_path: Path) -> None:
    """In a real shell with leftovers: mode, token and address of each `ray start`, and of RackServe on the head.

    All have the head's own token, made once and readable by its user alone; what `launch.env` says still wins.
    """
    spec = spec_of(provider)
    assert spec.launch is not None
    launch = spec.launch.model_copy(update={"env": {"RAY_TMPDIR": "/scratch/ray"}})
    config = rendered(spec.model_copy(update={"launch": launch}))[1]
    assert config["cluster_synced_files"] == [f"~/{TOKEN_FILE}"]
    ray = tmp_path / "rackserve" / "bin" / "ray"
    ray.parent.mkdir(parents=True)
    ray.write_text("#!/bin/bash\n[ $1 = stop ] || env | grep ^RAY_ | sort\n")
    ray.chmod(0o755)
    ray.with_name("rackserve").symlink_to(ray)
    left = {"RAY_ADDRESS": "10.9.9.9:6379", "RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_MODE": "disabled"}
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SSH_CONNECTION": "10.0.0.1 40000 10.0.0.12 22", **left}

    def seen(*commands: str) -> dict[str, str]:
        script = "\n".join(f"({command})" for command in commands)
        out = subprocess.run(["bash", "-c", script], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
        return dict(line.split("=", 1) for line in out.splitlines())

    head = seen(*config["head_start_ray_commands"])
    token = tmp_path / TOKEN_FILE
    made = token.read_text()
    assert re.fullmatch("[0-9a-f]{64}", made)
    assert token.stat().st_mode & 0o777 == 0o600
    assert seen(*config["head_start_ray_commands"]) == head
    assert token.read_text() == made
    settled = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": "/scratch/ray"}
    for environment in (
        head,
        seen(*config["worker_start_ray_commands"]),
        seen(head_command("rackserve serve f.yaml", launch)),
    ):
        assert settled.items() <= environment.items()
        assert not environment.keys() & {"RAY_ADDRESS", "RAY_AUTH_TOKEN"}


def test_secrets_go_by_a_file_of_their_own(tmp_path: Path) -> None:
    """The rendered file names that file alone; a shell on a node reads the values as they were, quotes and all."""
    spec = spec_of("aws-p5")
    assert spec.launch is not None
    launch = spec.launch.model_copy(update={"secrets": ("HF_TOKEN", "NOT_SET"), "env": {"HF_HOME": "/x"}})
    text = render("racks", launch, template(launch), source="f.yaml", secrets_file="/home/me/racks.env")
    config = check_as_ray_does(yaml.safe_load(text))
    assert config["file_mounts"]["~/.rackserve/launch_env"] == "/home/me/racks.env"
    secret = 'hf_it\'s "$HOME"'  # noqa: S105 - no secret
    assert secret not in text
    file = tmp_path / ".rackserve" / "launch_env"
    file.parent.mkdir()
    file.write_text(secrets_text(launch, {"HF_TOKEN": secret, "OTHER": "x"}))
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        script = re.sub(r"~/rackserve/bin/ray .*", 'printf "%s|%s" "$HF_TOKEN" "$HF_HOME"', config[key][-1])
        env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        out = subprocess.run(["bash", "-c", script], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
        assert out == f"{secret}|/x"


def test_machines_that_share_nvlink_have_its_settings() -> None:
    """Racks, not boxes: on premises by group, on a cloud where all machines are racks'; the operator wins."""
    command = rendered(spec_of("onprem"))[1]["worker_start_ray_commands"][-1]
    script = re.sub(r"~/rackserve/bin/ray .*", "env", command)
    for address, expected in (("10.0.0.12", as_environment(MULTI_NODE_NVLINK)), ("10.0.0.21", {})):
        env = {"SSH_CONNECTION": f"10.0.0.1 40000 {address} 22", "RAY_HEAD_IP": "10.0.0.1", "PATH": "/usr/bin:/bin"}
        out = subprocess.run(["bash", "-c", script], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
        found = dict(line.split("=", 1) for line in out.splitlines())
        assert {name: value for name, value in found.items() if name.startswith(("NCCL_", "UCX_"))} == expected
    exported = " ".join(f"{name}={value}" for name, value in as_environment(MULTI_NODE_NVLINK).items())
    for provider, has_it in (("aws-gb300", True), ("aws-p5", False)):
        spec = spec_of(provider)
        assert spec.launch is not None
        theirs = spec.launch.model_copy(update={"env": {"NCCL_MNNVL_ENABLE": "2"}})
        start = rendered(spec.model_copy(update={"launch": theirs}))[1]["worker_start_ray_commands"][-1]
        assert (exported in start) is has_it
        assert start.rindex("NCCL_MNNVL_ENABLE=2") > start.find("NCCL_MNNVL_ENABLE=1")


def test_a_worker_on_premises_finds_its_group_by_its_own_address() -> None:
    """A real shell, run as by sshd: each group's GPUs and labels, and for an address of no group nothing is started."""
    command = rendered(spec_of("onprem"))[1]["worker_start_ray_commands"][-1]
    command = command.replace("~/rackserve/bin/ray", "echo")

    def started_at(address: str) -> subprocess.CompletedProcess[str]:
        env = {"SSH_CONNECTION": f"10.0.0.1 40000 {address} 22", "RAY_HEAD_IP": "10.0.0.1", "PATH": "/usr/bin:/bin"}
        return subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=False)

    rack = started_at("10.0.0.12").stdout
    assert "start --address=10.0.0.1:6379 --node-ip-address=10.0.0.12" in rack
    assert "--num-gpus=4 --labels=ray.io/node-group=r0,ray.io/gpu-domain=rack-0,rackserve.io/rack=row-1" in rack
    box = started_at("10.0.0.21").stdout
    assert "--num-gpus=8 --labels=ray.io/node-group=boxes,ray.io/gpu-domain=10.0.0.21,pool=small" in box
    stranger = started_at("10.0.0.99")
    assert stranger.returncode == 1
    assert "10.0.0.99 is in no group of workers" in stranger.stderr


def test_on_premises_addresses_and_the_launchers_own_way_to_the_head() -> None:
    """Ray's `local` provider gets all workers, and the head's other address where there is one."""
    provider = rendered(spec_of("onprem"))[1]["provider"]
    assert provider["worker_ips"] == ["10.0.0.11", "10.0.0.12", "10.0.0.21"]
    assert (provider["head_ip"], provider["external_head_ip"]) == ("10.0.0.1", "192.0.2.1")


@pytest.mark.parametrize(("put", "cpus"), [("", 0), (", cpus: 3", 3)])
def test_the_head_on_premises_runs_replicas_only_where_it_is_given_cpus(put: str, cpus: int) -> None:
    """By default it keeps itself to Ray's control plane and the gateways."""
    spec = spec_of("onprem", was="external_address: 192.0.2.1", put=f"external_address: 192.0.2.1{put}")
    assert f"--num-cpus={cpus} --num-gpus=0" in rendered(spec)[1]["head_start_ray_commands"][-1]


def test_a_rack_of_gb300_is_a_node_type_of_its_own() -> None:
    """18 machines of its own capacity block, labelled as one NVLink domain, with all of their network cards."""
    config = rendered(spec_of("aws-gb300"))[1]
    assert config["max_workers"] == 36
    types = config["available_node_types"]
    assert list(types) == ["head", "rack-0", "rack-1"]
    rack = types["rack-1"]
    assert (rack["min_workers"], rack["max_workers"], rack["resources"]["GPU"]) == (18, 18, 4)
    assert rack["labels"] == {"ray.io/gpu-domain": "rack-1", "rackserve.io/rack": "rack-1"}
    node = rack["node_config"]
    assert node["InstanceType"] == "p6e-gb300.36xlarge"
    assert node["InstanceMarketOptions"] == {"MarketType": "capacity-block"}
    target = node["CapacityReservationSpecification"]["CapacityReservationTarget"]
    assert target == {"CapacityReservationId": "cr-0123456789abcdef1"}
    cards = node["NetworkInterfaces"]
    assert [(card["NetworkCardIndex"], card["InterfaceType"]) for card in cards] == [
        (0, "interface"),
        *((index, "efa-only") for index in (1, 5, 9, 13)),
    ]
    assert {card["SubnetId"] for card in cards} == {"subnet-0123456789abcdef0"}


def test_p5_machines_with_and_without_a_reservation() -> None:
    """Without one they are bought on demand; with one, from it. 32 cards either way."""
    types = rendered(spec_of("aws-p5"))[1]["available_node_types"]
    on_demand, block = types["spot"]["node_config"], types["block"]["node_config"]
    assert not {"InstanceMarketOptions", "CapacityReservationSpecification"} & on_demand.keys()
    assert {"InstanceMarketOptions", "CapacityReservationSpecification"} <= block.keys()
    assert [card["NetworkCardIndex"] for card in block["NetworkInterfaces"]] == list(range(32))


def test_gcp_machines_and_their_reservations() -> None:
    """The reservation is named where there is one; a group's machine says what Ray may count on."""
    types = rendered(spec_of("gcp"))[1]["available_node_types"]
    assert types["boxes"]["node_config"]["reservationAffinity"]["values"] == ["mine"]
    assert "reservationAffinity" not in types["rack-0"]["node_config"]
    assert types["rack-0"]["resources"] == {"CPU": 140, "GPU": 4}
    images = [
        types[name]["node_config"]["disks"][0]["initializeParams"]["sourceImage"].rpartition("/")[2]
        for name in ("head", "boxes")
    ]
    assert images == ["plain", "gpu"]


def test_a_wheel_is_copied_and_installed_with_its_extras() -> None:
    """`dist/x.whl[gpu]` becomes a file mount and pip's argument; built anew, it is installed anew."""
    package = "package: /work/dist/rackserve-0.1.0-py3-none-any.whl[gpu]\n  workers:"
    config = rendered(spec_of("onprem", was="workers:", put=package))[1]
    name = "rackserve-0.1.0-py3-none-any.whl"
    assert config["file_mounts"] == {f"~/rackserve-package/{name}": f"/work/dist/{name}"}
    installs = [command for command in config["setup_commands"] if "pip install" in command]
    assert all(f'"$HOME/rackserve-package/{name}[gpu]"' in command for command in installs)
    assert "--force-reinstall --no-deps" in installs[-1]


def test_environment_and_place_of_the_installation_reach_every_command() -> None:
    """`env` is exported before Ray starts, quoted for the shell; `venv` is where Ray is found."""
    put = 'venv: /opt/rackserve\n  env: {HF_HOME: "/shared/my models"}\n  workers:'
    config = rendered(spec_of("onprem", was="workers:", put=put))[1]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = config[key][-1]
        assert "; export HF_HOME='/shared/my models'; ulimit " in start  # after the file's own: the operator's win
        assert "/opt/rackserve/bin/ray start" in start
    assert "~/rackserve/" not in yaml.dump(config)


@pytest.mark.parametrize(
    ("provider", "was", "put", "problem"),
    [
        ("onprem", "10.0.0.21", "10.0.0.11", "launch.workers[1].hosts[0]: 10.0.0.11 is already workers[0].hosts[0]"),
        ("onprem", "10.0.0.21", "10.0.0.1", "launch.workers[1].hosts[0]: 10.0.0.1 is already head.address"),
        ("onprem", "name: boxes", "name: r0", "launch.workers[1].name: 'r0' is already the name of workers[0]"),
        ("gcp", "name: boxes", "name: head", "launch.workers[0].name: 'head' is already the name of the head's"),
        ("aws-p5", "us-east-2a", "us-west-2a", "launch.zone: us-west-2a is not in launch.region us-east-2"),
        ("aws-gb300", ", reservation: cr-0123456789abcdef1", "", "launch.workers[1].reservation: missing"),
        ("aws-gb300", "domain: rack-1, ", "", "launch.workers[1].domain: missing: 18 machines are one NVLink domain"),
        ("aws-gb300", "domain: rack-1", "domain: rack-0", "launch.workers[1].domain: 'rack-0' has 36 machines"),
    ],
)
def test_what_cannot_be_is_named_by_its_key(provider: str, was: str, put: str, problem: str) -> None:
    """Values that are well-formed each, and wrong together."""
    assert any(found.startswith(problem) for found in problems(spec_of(provider, was=was, put=put)))


def test_models_that_do_not_fit_the_machines_are_named_before_anything_starts() -> None:
    """16 GPUs in one domain, where the largest has 8."""
    spec = spec_of("onprem", models="{name: big, engine: sim, gpus_per_replica: 16, parallel: {tensor: 16}}")
    (problem,) = problems(spec)
    assert problem.startswith("models[0]: does not fit on launch.workers: needs 16 GPUs in one domain")


def test_folders_of_this_machine_are_no_source_on_another() -> None:
    """A path from here would fail on each node after it was started."""
    spec = spec_of("onprem", models="{name: mine, source: ./mine}")
    assert problems(spec)[0].startswith("models[0].source: './mine' is a folder of this machine")


def test_a_cluster_file_without_the_section_is_told_what_is_missing() -> None:
    """`rackserve up` on a file that is for `rackserve serve`."""
    assert problems(cluster_file.load(f"models: [{SIM_TP4}]", "f"))[0].startswith("launch: missing")


@pytest.mark.parametrize(("provider", "least"), [("aws-p5", 500), ("aws-gb300", 500), ("gcp", 200)])
def test_a_clouds_disks_have_room_for_the_weights(provider: str, least: int) -> None:
    """A worker's disk is as large as the weights need beside the system, and never smaller than the file has it."""
    launch = spec_of(provider).launch
    assert launch is not None
    sizes = []
    for weights_bytes in (0, 708 * 10**9):
        text = render("racks", launch, template(launch), source="f.yaml", weights_bytes=weights_bytes)
        types = yaml.safe_load(text)["available_node_types"]
        nodes = [node["node_config"] for name, node in types.items() if name != "head"]
        sizes += [{_disk_gb(node) for node in nodes}]
    assert sizes == [{least}, {760}]


def test_a_clouds_disks_and_identities_are_as_the_file_says() -> None:
    """Head and workers apart, in each cloud's own words; Ray's schema takes them, and nobody else gets one."""
    aws = spec_of(
        "aws-p5", was="{name: spot, count: 2}", put="{name: spot, count: 2, disk_gib: 900, instance_profile: w}"
    )
    assert isinstance(aws.launch, AwsLaunch)
    arn = "arn:aws:iam::123456789012:instance-profile/team/head"
    head = aws.launch.head.model_copy(update={"disk_gib": 250, "instance_profile": arn})
    config = rendered(aws.model_copy(update={"launch": aws.launch.model_copy(update={"head": head})}))[1]
    types = {name: kind["node_config"] for name, kind in check_as_ray_does(config)["available_node_types"].items()}
    assert {name: _disk_gb(node) for name, node in types.items()} == {"head": 250, "spot": 900, "block": 500}
    profiles = {name: node.get("IamInstanceProfile") for name, node in types.items()}
    assert profiles == {"head": {"Arn": arn}, "spot": {"Name": "w"}, "block": None}
    email = "w@my-project.iam.gserviceaccount.com"
    gcp = spec_of("gcp", was="count: 2", put=f"count: 2, disk_gib: 900, service_account: {email}")
    types = {name: kind["node_config"] for name, kind in rendered(gcp)[1]["available_node_types"].items()}
    assert {name: _disk_gb(node) for name, node in types.items()} == {"head": 200, "boxes": 900, "rack-0": 200}
    assert [account["email"] for account in types["boxes"]["serviceAccounts"]] == [email]
    assert not any("serviceAccounts" in types[name] for name in ("head", "rack-0"))


def test_a_disk_that_the_weights_do_not_fit_on_is_refused() -> None:
    """As where no size is given one is chosen; of a model whose size is not known nothing is refused."""
    model = "{name: r1, source: deepseek-ai/DeepSeek-R1, gpus_per_replica: 8, parallel: {tensor: 8}}"
    small = {"was": "{name: spot, count: 2}", "put": "{name: spot, count: 2, disk_gib: 500}"}
    (problem,) = problems(spec_of("aws-p5", **small, models=model))
    assert problem.startswith("launch.workers[0].disk_gib: 500 GiB are too few: the models' weights take 658 GiB")
    assert problems(spec_of("aws-p5", **small, models=model.replace("deepseek-ai/DeepSeek-R1", "my/own-model"))) == []


IPV4_ONLY = "0.0.0.0"  # noqa: S104 - refused
IPV6 = """
  head: {address: 'fd00::1', external_address: '2001:db8::9'}
  workers:
  - {name: r0, domain: rack-0, hosts: ['fd00::b', 'fd00::c'], gpus: 4}
  - {name: boxes, hosts: ['fd00::d', 'fd00:1::'], gpus: 8}
"""


def ipv6_spec(gateway: str = "'::'", was: str = "", put: str = "") -> ClusterSpec:
    """Return a cluster file of machines that have IPv6 addresses."""
    section = IPV6.replace(was, put) if was else IPV6
    text = f"gateway: {{host: {gateway}}}\nmodels: [{SIM_TP4}]\nlaunch:\n  provider: onprem\n  {SSH}{section}"
    return cluster_file.load(text, "f.yaml")


def test_machines_with_ipv6_addresses_join_their_head_and_have_labels() -> None:
    """A real shell: the head's address in brackets, the node's without; labels, which Ray allows no colon in."""
    spec = ipv6_spec()
    assert problems(spec) == []
    config = check_as_ray_does(rendered(spec)[1])
    command = config["worker_start_ray_commands"][-1].replace("~/rackserve/bin/ray", "printf '%s\\n'")

    def started_at(address: str) -> list[str]:
        env = {"SSH_CONNECTION": f"fd00::1 40000 {address} 22", "RAY_HEAD_IP": "fd00::1", "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            ["bash", "-c", command], env=env, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.splitlines()

    rack = started_at("fd00::c")
    assert {"--address=[fd00::1]:6379", "--node-ip-address=fd00::c"} <= set(rack)
    assert "--labels=ray.io/node-group=r0,ray.io/gpu-domain=rack-0" in rack
    assert [_labels(started_at(address))["ray.io/gpu-domain"] for address in ("fd00::d", "fd00:1::")] == [
        "fd00-0000-0000-0000-0000-0000-0000-000d",
        "fd00-0001-0000-0000-0000-0000-0000-0000",
    ]
    assert "--node-ip-address=fd00::1 " in config["head_start_ray_commands"][-1]


def _labels(words: list[str]) -> dict[str, str]:
    """Return the labels of a `ray start`, as Ray reads and checks them."""
    (given,) = [word.removeprefix("--labels=") for word in words if word.startswith("--labels=")]
    found: dict[str, str] = parse_node_labels_string(given)
    validate_node_labels({key: value for key, value in found.items() if not key.startswith("ray.io/")})
    assert [validate_label_value(value) for value in found.values()] == [None] * len(found)
    return found


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray leaves its state file open
def test_rays_launcher_takes_ipv6_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ray up` makes it from the file: nodes are their addresses, rsync gets brackets, and ssh none."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    config = check_as_ray_does(rendered(ipv6_spec())[1])
    provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
    assert provider.internal_ip("fd00::b") == "fd00::b"
    assert provider.external_ip("fd00::1") == "2001:db8::9"
    said = Commands()
    runner = provider.get_command_runner("", "fd00::b", config["auth"], "racks", said, use_internal_ip=True)
    runner.run("true")
    runner.run_rsync_up("/x", "~/x")
    assert "ubuntu@fd00::b" in said.given[0]
    assert said.given[1][-1] == "ubuntu@[fd00::b]:~/x"


class Commands:
    """What Ray's command runner starts processes with; keeps them."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []

    def check_call(self, command: list[str], **_named: object) -> None:
        """Keep a command."""
        self.given.append(command)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            ipv6_spec(gateway=IPV4_ONLY),
            "gateway.host: 0.0.0.0 takes IPv4 alone and launch.head.address fd00::1 is IPv6",
        ),
        (
            ipv6_spec(was="fd00::c", put="10.0.0.3"),
            "launch.workers[0].hosts[1]: 10.0.0.3 is IPv4 and launch.head.address",
        ),
        (
            ipv6_spec(was="fd00::c", put="[FD00:0::B]"),
            "launch.workers[0].hosts[1]: fd00::b is already workers[0].hosts[0]",
        ),
    ],
)
def test_addresses_that_make_no_cluster_are_named(spec: ClusterSpec, problem: str) -> None:
    """A gateway that apps could not reach, nodes that could not reach one another, one machine in two spellings."""
    assert any(found.startswith(problem) for found in problems(spec)), problems(spec)


def test_what_names_stand_for_is_shown() -> None:
    """The file has addresses; its first lines say whose."""
    spec = spec_of("onprem")
    assert spec.launch is not None
    names = {"node-11.example": "10.0.0.11"}
    text = render("racks", spec.launch, template(spec.launch), source="f.yaml", names=names)
    assert "# node-11.example is 10.0.0.11" in text.splitlines()[:4]


def _disk_gb(node: dict[str, Any]) -> int:
    if "disks" in node:
        return int(node["disks"][0]["initializeParams"]["diskSizeGb"])
    return int(node["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"])
