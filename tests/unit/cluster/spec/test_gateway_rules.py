"""Rules over several keys of `gateway:`, told beside all other mistakes of the file."""

import pytest

from cluster.errors import SpecError
from cluster.spec.cluster_file import load

DIGEST = "a" * 64


def problems(text: str) -> dict[str, str]:
    """Return what `load` says is wrong with `text`, by path."""
    with pytest.raises(SpecError) as caught:
        load(text, "test.yaml")
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_tenants_unknown_models_are_told_with_the_close_ones() -> None:
    """Each name at its own place; adapters that the engine loads are models too."""
    found = problems(
        f"""\
gateway:
  tenants:
    - {{name: a, key_sha256: {DIGEST}, models: [chta, sql, code, chat]}}
models:
  - {{name: chat, engine: sim, engine_args: {{lora_modules: ["sql=/adapters/sql", {{name: code, path: /c}}]}}}}
"""
    )
    assert found == {
        "gateway.tenants[0].models[0]": "no model of this file is called 'chta'; did you mean 'chat'? (line 3)"
    }


def test_without_a_close_name_the_models_are_listed() -> None:
    """What would be right is told even then."""
    text = (
        f"gateway: {{tenants: [{{name: a, key_sha256: {DIGEST}, models: [zzz]}}]}}\nmodels: [{{name: m, engine: sim}}]"
    )
    assert "there is m" in problems(text)["gateway.tenants[0].models[0]"]


def test_rules_over_several_keys_are_told_beside_mistakes_of_single_keys() -> None:
    """A wrong type elsewhere in the section hides no equal tenants, no equal ports and no unclear label."""
    found = problems(
        f"""\
gateway:
  max_body_bytes: lots
  port: 9000
  admin_port: 9000
  replicas: every_node
  node_labels: {{rack: "in(a,b)"}}
  admin_key_sha256: {DIGEST}
  admin_key_file: /run/secrets/operators
  tenants:
    - {{name: a, key_sha256: {DIGEST}}}
    - {{name: a, key_sha256: [{"b" * 64}, {DIGEST}]}}
cluster: {{serve_port: 9000}}
models: [{{name: m, engine: sim, replicas: zwei}}]
"""
    )
    assert set(found) == {
        "gateway.max_body_bytes",
        "gateway.admin_port",
        "gateway.node_labels.rack",
        "gateway.admin_key_file",
        "gateway.tenants[1].name",
        "gateway.tenants[1].key_sha256",
        "cluster.serve_port",
        "models[0].replicas",
    }
    assert "9000 is already gateway.port" in found["cluster.serve_port"]
    assert "gateway.tenants[0]" in found["gateway.tenants[1].name"]


def test_a_default_port_counts_too() -> None:
    """A file that gives the apps' port the number of another default says which."""
    assert (
        "8002 is already gateway.port"
        in problems("gateway: {port: 8002}\nmodels: [{name: m, engine: sim}]").popitem()[1]
    )


def test_any_free_port_is_never_taken() -> None:
    """0 stands for any, as often as one likes."""
    spec = load("gateway: {port: 0, admin_port: 0}\ncluster: {serve_port: 0}\nmodels: [{name: m, engine: sim}]", "f")
    assert spec.gateway.port == spec.gateway.admin_port == 0


def test_a_rule_of_the_section_alone_is_told_once() -> None:
    """At its exact key, where the file has no other mistake."""
    text = f"gateway: {{admin_key_sha256: {DIGEST}, admin_key_file: /k}}\nmodels: [{{name: m, engine: sim}}]"
    assert list(problems(text)) == ["gateway.admin_key_file"]
    twice = f"gateway: {{tenants: [{{name: a, key_sha256: {DIGEST}}}, {{name: a, key_sha256: {'b' * 64}}}]}}\n"
    assert list(problems(twice + "models: [{name: m, engine: sim}]")) == ["gateway.tenants[1].name"]
