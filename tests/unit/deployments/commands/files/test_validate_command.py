"""`rackserve validate` and `init`: files are checked by the rules of the commands that read them."""

import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cluster.errors import ClusterError, SpecError
from deployments import app
from deployments.commands.files.init import init
from deployments.commands.files.place import place
from deployments.commands.files.plan import plan
from deployments.commands.files.validate import validate
from deployments.replica.read_spec import read_spec

EXAMPLES = Path(app.__file__).parent / "examples"
DIGEST = "a" * 64
PLAN_OF_NOPE = """\
model: nope
hardware: h100
workload: {input_tokens: 1, output_tokens: 1, requests_per_s: 1}
slo: {ttft_s: 1, tpot_s: 1}
"""


PLAN_WITH_NOPE = PLAN_OF_NOPE.replace("nope", "llama-3.1-8b") + (
    "speculative: {method: draft_model, tokens: 3, acceptance: 0.5, model: nope}\n"
)


def checked(file: Path, *, elsewhere: bool = False) -> str:
    """Return what people read."""
    console = Console(file=io.StringIO(), width=60)
    validate(file, elsewhere=elsewhere, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def problems(file: Path) -> dict[str, str]:
    """Return what is wrong, by path."""
    with pytest.raises(SpecError) as caught:
        checked(file)
    return {problem.path: problem.message for problem in caught.value.problems}


def written(folder: Path, text: str) -> Path:
    """Return a file with this text."""
    file = folder / "file.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_valid(file: Path) -> None:
    """Of whatever kind it is; what it names on other machines is not looked for."""
    assert checked(file, elsewhere=True).startswith(f"OK: {file} is a ")


def test_the_summary_says_what_is_served(tmp_path: Path) -> None:
    """Names, replicas and tenants in one line."""
    file = written(
        tmp_path,
        f"gateway: {{tenants: [{{name: t, key_sha256: {DIGEST}}}]}}\n"
        "models: [{name: a, engine: sim}, {name: b, engine: sim, replicas: {min: 1, max: 3}}]\n",
    )
    assert checked(file) == (
        f"OK: {file} is a cluster file: rackserve serves 2 models, a (1 replica), b (1 to 3 replicas), 1 tenant\n"
    )


def test_the_summary_names_pools(tmp_path: Path) -> None:
    """With the role where it is not both, and each pool's replicas."""
    pools = "{name: p, role: prefill}, {name: d, role: decode, replicas: {min: 1, max: 3}}, {name: w}"
    file = written(tmp_path, f"models: [{{name: a, engine: sim, replicas: 2, pools: [{pools}]}}]\n")
    told = "a (pool p (prefill): 2 replicas, pool d (decode): 1 to 3 replicas, pool w: 2 replicas)"
    assert checked(file) == f"OK: {file} is a cluster file: rackserve serves 1 model, {told}\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"tenants: [{{name: a, key_sha256: {DIGEST}}}]", "tenants file: 1 tenant"),
        ("servers: [{url: 'https://a/openai'}, {url: 'b:8000'}]", "servers file: 2 servers"),
        ("gangs: [{name: a, tensor: 8, replicas: 2}]", "gang file: 1 gang"),
        ("nodes: [{name: a, rack: r, gpus: 4}]", "topology file: 1 machine, 4 GPUs"),
    ],
)
def test_other_files_are_known_by_their_keys(tmp_path: Path, text: str, kind: str) -> None:
    """No option says what kind of file it is."""
    assert kind in checked(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("tenants: [{name: a}]", "tenants[0]", "key_sha256"),
        ("servers: [{url: 'ftp://a'}]", "servers[0].url", "give http://HOST:PORT"),
        ("racks: [{name: r, nodes: 2, acelerator: gb300}]", "racks[0].acelerator", "did you mean 'accelerator'"),
        ("racks: [{name: r, nodes: 1, gpus_per_node: 8}]\nspares_per_domain: 1", "", "leave nothing of domain"),
        (PLAN_OF_NOPE, "model", "no model 'nope'"),
        (PLAN_WITH_NOPE, "speculative.model", "no model 'nope'"),
        ("hardware: h100\nslo: {ttft_s: 1, tpot_s: 1}", "model", "missing"),
        ("", "", "the file is empty"),
        ("- a", "", "must be a mapping"),
        ("modells: []", "models", "missing"),
        ("a: [", "", "not YAML"),
    ],
)
def test_mistakes_are_those_of_the_files_reader(tmp_path: Path, text: str, path: str, words: str) -> None:
    """Each at its key; a file of no known kind is read as a cluster file."""
    assert words in problems(written(tmp_path, text))[path]


def test_a_package_that_a_method_needs_is_looked_for_where_the_engine_is(tmp_path: Path) -> None:
    """With the command that installs it, before anything starts; not where the file is for other machines."""
    if importlib.util.find_spec("vllm") is None or importlib.util.find_spec("arctic_inference") is not None:
        pytest.skip("vLLM is not here, or has the package")
    text = "models: [{name: a, source: smollm2-135m-instruct, speculative: {method: suffix}}]"
    file = written(tmp_path, text)
    assert "pip install arctic-inference" in problems(file)["models[0].speculative.method"]
    assert "OK" in checked(file, elsewhere=True)
    assert "OK" in checked(written(tmp_path, text.replace("source", "engine: sim, source")))


def test_what_a_cluster_file_names_is_looked_for_here_all_at_once(tmp_path: Path) -> None:
    """Folders, built-in names, keys and certificates; not where the file is for other machines."""
    file = written(
        tmp_path,
        """\
gateway:
  tls: {cert_file: /nope.pem, key_file: /nope.key}
  admin_key_file: /nope
  tenants: [{name: t, key_file: /nope}]
models:
  - {name: a, source: /no/such/folder}
  - {name: b, source: smollm2-135m-instruc}
  - {name: c, source: smollm2-135m-instruct, speculative: {method: draft_model, model: /no/such/draft}}
""",
    )
    found = problems(file)
    assert set(found) == {
        "gateway.tls",
        "gateway.admin_key_file",
        "gateway.tenants[0].key_file",
        "models[0].source",
        "models[1].source",
        "models[2].speculative.model",
    }
    assert "did you mean 'smollm2-135m-instruct'" in found["models[1].source"]
    assert "OK" in checked(file, elsewhere=True)


def test_a_file_that_launches_machines_is_checked_as_up_does(tmp_path: Path) -> None:
    """Gangs that its machines cannot hold, and the key with which to log in."""
    text = (EXAMPLES / "racks.yaml").read_text()
    file = written(tmp_path, text.replace("tensor: 4}", "tensor: 16}"))
    assert "does not fit on launch.workers" in problems(file)["models[0]"]
    lost = problems(written(tmp_path, text.replace("~/.ssh/id_ed25519", "/no/such/key")))
    assert "there is no file" in lost["launch.ssh.private_key"]


def test_init_writes_a_file_that_is_valid_and_says_what_to_do_next(tmp_path: Path) -> None:
    """It serves as it is: every key is right, and what is commented out can be used."""
    console, file = Console(file=io.StringIO(), width=200), tmp_path / "new.yaml"
    init(file, console=console)
    assert isinstance(console.file, io.StringIO)
    assert f"rackserve serve {file}" in console.file.getvalue()
    assert checked(file).startswith("OK")
    lines = file.read_text().splitlines()
    whole = "\n".join(
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and line[0] == " " else line for line in lines
    )
    sections = [
        line for line in whole.splitlines() if not line.lstrip().startswith(("A model on", "A small", "A stand"))
    ]
    full = written(tmp_path, "\n".join(sections))
    assert len(read_spec(full).models) == 3
    assert read_spec(full).gateway.tenants[0].name == "acme"


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """A file, whatever is in it, stays; a folder that is not there is told."""
    file = written(tmp_path, "mine")
    with pytest.raises(ClusterError, match="is there already"):
        init(file, console=Console(quiet=True))
    assert file.read_text() == "mine"
    with pytest.raises(ClusterError, match="cannot be written"):
        init(tmp_path / "no" / "folder.yaml", console=Console(quiet=True))


def test_the_example_plan_and_machines_answer() -> None:
    """The files that the READMEs name: a plan within its SLO, and a place for each gang."""
    console = Console(quiet=True)
    assert plan(EXAMPLES / "plan.yaml", as_json=False, show_all=False, console=console) == 0
    topology = EXAMPLES / "topology.yaml"
    assert place(EXAMPLES / "racks.yaml", topology, at="max", lose=(), spares=None, as_json=False, console=console) == 0
    assert yaml.safe_load(topology.read_text())["racks"]


def test_checking_a_cluster_file_imports_no_ray() -> None:
    """Importing Ray takes seconds, which an editor or a commit hook that checks a file would wait."""
    program = (
        "import sys; from pathlib import Path; from rich.console import Console; "
        "from deployments.commands.files.validate import validate; "
        f"validate(Path({str(EXAMPLES / 'demo.yaml')!r}), elsewhere=True, console=Console()); "
        "assert not {'ray', 'vllm', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
