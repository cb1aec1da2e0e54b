"""The image's Dockerfile, which cannot be built here, installs by the script of `make setup`, and fits the chart."""

import os
import re
import runpy
import subprocess
import sys
import tomllib

import yaml

from tests.integration.helm.chart import CHART, ROOT

DOCKERFILE = (CHART / "Dockerfile").read_text()
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.+(?:\\\n.+)*)$", DOCKERFILE, re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_python_packages_come_by_the_set_ups_script_alone() -> None:
    """Besides Debian's packages and the user, every step is `.setup/install`, once for each kind of machine."""
    steps = [text for kind, text in INSTRUCTIONS if kind == "RUN"]
    ours = [step for step in steps if not step.startswith(("apt-get update", "groupadd"))]
    assert ours == ["EXTRAS=cpu .setup/install environment", "EXTRAS=gpu .setup/install environment"]
    assert "pip" not in " ".join(steps)
    assert "setup: ## The environment" in (ROOT / "Makefile").read_text()
    assert re.search(r"^setup:.*\n\t@\.setup/install$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"cpu", "gpu"} <= PROJECT["optional-dependencies"].keys()


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    """Each COPY names files of this repository that .dockerignore does not keep out."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    for kind, text in INSTRUCTIONS:
        if kind == "COPY" and not text.startswith("--from"):
            for name in text.split()[:-1]:
                assert (ROOT / name).exists(), name
                assert f"!{name}" in ignored, name


def test_the_image_is_what_the_chart_names() -> None:
    """User, versions and targets agree with the chart's values and with pyproject.toml."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f"USER {values['security']['pod']['runAsUser']}:{values['security']['pod']['runAsGroup']}" in DOCKERFILE
    assert chart["appVersion"] == chart["version"] == PROJECT["version"]
    assert f"ray[serve]=={values['rayVersion']}" in PROJECT["dependencies"]
    assert f"-t rackserve:{chart['appVersion']} " in DOCKERFILE
    cpu = yaml.safe_load((CHART / "values-cpu.yaml").read_text())["image"]["tag"]
    assert f"--target cpu -t rackserve:{cpu} " in DOCKERFILE
    assert {"cpu", "gpu"} <= set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))


def test_the_images_packages_are_pinned_by_hash() -> None:
    """Each lock has every dependency of pyproject.toml at our version, with its files' hashes; it is what pip gets."""
    pins = {_plain(pin) for pin in (ROOT / ".setup" / "constraints.txt").read_text().split()}
    for extra, machine in (("cpu", "x86_64"), ("gpu", "x86_64"), ("gpu", "aarch64")):
        lock = (ROOT / ".setup" / "hashes" / f"{extra}-{machine}.txt").read_text().replace("\\\n", "")
        lines = [line for line in lock.splitlines() if not line.startswith("#")]
        assert all(re.match(r"\S+==\S+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+$", line) for line in lines)
        locked = {_plain(line.split()[0]) for line in lines}
        wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]
        names = {_plain(re.split(r"[\[<>=;]", each)[0]) for each in wanted}
        assert names <= {pin.partition("==")[0] for pin in locked}
        ours = names if extra == "gpu" else {pin.partition("==")[0] for pin in pins}
        held = {pin for pin in pins if pin.partition("==")[0] in ours & {each.partition("==")[0] for each in locked}}
        assert {pin for pin in held if not pin.startswith("setuptools==")} <= locked
    script = (ROOT / ".setup" / "install").read_text()
    assert 'run_pip --require-hashes --no-deps -r "$LOCK"' in script
    assert "LOCK=.setup/hashes/$EXTRAS-$(uname -m).txt" in script


def _plain(pin: str) -> str:
    name, separator, version = pin.partition("==")
    return re.sub(r"[-_.]+", "-", name).lower() + separator + version


def test_the_audit_is_skipped_aloud_and_finds_what_is_published() -> None:
    """Without a network it says so and fails nothing; of pip-audit's answer each advisory is a line."""
    script = ROOT / ".setup" / "audit.py"
    nowhere = {**os.environ, "RACKSERVE_ADVISORIES": "http://127.0.0.1:9/none"}
    done = subprocess.run([sys.executable, str(script)], env=nowhere, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pip-audit: skipped, as no advisories can be read")
    assert len(done.stdout.splitlines()) == 1
    found = runpy.run_path(str(script))["verdict"](
        {
            "dependencies": [
                {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]},
                {"name": "b", "version": "2", "vulns": []},
                {"name": "c", "skip_reason": "not on PyPI"},
            ]
        }
    )
    assert found == (["a 1: PYSEC-1, fixed in 1.1"], 2, 1)


def test_the_gpus_constraints_are_our_own_dependencies() -> None:
    """On a GPU vLLM itself pins torch and what belongs to it; what pyproject.toml names stays pinned as here."""
    script = (ROOT / ".setup" / "install").read_text()
    (function,) = re.findall(r"^constraints\(\) \{\n.*?^\}$", script, re.MULTILINE | re.DOTALL)

    def pins(extras: str) -> set[str]:
        done = subprocess.run(
            ["bash", "-c", f"EXTRAS={extras}\n{function}\nconstraints"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stdout.split())

    assert pins("cpu") == pins("cpu,dev") == set((ROOT / ".setup" / "constraints.txt").read_text().split())
    named = {re.split(r"[\[<>=;]", wanted)[0].lower().replace("_", "-") for wanted in PROJECT["dependencies"]}
    assert {pin.split("==")[0].lower().replace("_", "-") for pin in pins("gpu")} == named
    assert pins("gpu") < pins("cpu")
