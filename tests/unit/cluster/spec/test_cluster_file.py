"""The cluster file: what is accepted, and how every mistake is told."""

import pytest

from cluster.errors import SpecError
from cluster.spec.cluster_file import from_data, load, path

MINIMAL = "models:\n  - {name: m, engine: sim}\n"


def problems(text: str) -> dict[str, str]:
    """Return what `load` says is wrong with `text`, by path."""
    with pytest.raises(SpecError) as caught:
        load(text, "test.yaml")
    assert caught.value.source == "test.yaml"
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_minimal_file_gets_the_defaults() -> None:
    """A model's name and engine are enough; everything else has a default."""
    spec = load(MINIMAL, "test.yaml")
    assert [model.name for model in spec.models] == ["m"]
    assert (spec.gateway.port, spec.gateway.admin_port, spec.cluster.serve_port) == (8000, 8002, 0)
    assert (spec.models[0].replicas.min, spec.models[0].replicas.max) == (1, 1)


def test_a_full_file_keeps_every_value() -> None:
    """Values reach the spec as written, engine_args untouched."""
    spec = load(
        """
        cluster: {name: lab, serve_port: 9001}
        gateway: {port: 9000, replicas: 2, drain_timeout_s: 5}
        models:
          - name: org/model:v1
            source: smollm2-135m-instruct
            replicas: 3
            parallel: {tensor: 2, pipeline: 2}
            engine_args: {max_model_len: 2048, dtype: bfloat16, nested: {list: [1, 2.5, null, yes]}}
            env: {OMP_NUM_THREADS: "1"}
          - {name: other, engine: sim, replicas: {min: 2}, sim: {kv_blocks: 16}}
        """,
        "test.yaml",
    )
    first, second = spec.models
    assert first.engine_args == {
        "max_model_len": 2048,
        "dtype": "bfloat16",
        "nested": {"list": [1, 2.5, None, True]},
    }
    assert (first.replicas.min, first.replicas.max, first.parallel.gpus) == (3, 3, 4)
    assert (second.replicas.min, second.replicas.max, second.sim.kv_blocks) == (2, 2, 16)
    assert spec.gateway.drain_timeout_s == 5.0


def test_every_problem_is_reported_at_once_in_the_files_order() -> None:
    """One look at the error is enough to mend the whole file."""
    found = problems(
        """\
cluster: {name: Foo Bar}
gateway:
  prot: 80
  replicas: yes
  max_body_bytes: 10
models:
  - name: a
    replicas: {min: 3, max: 1}
    engine: vlm
  - name: a
    replicas: many
    env: {OMP_NUM_THREADS: 1}
extra: 1
"""
    )
    assert list(found) == [
        "cluster.name",
        "gateway.prot",
        "gateway.replicas",
        "gateway.max_body_bytes",
        "models[0].replicas",
        "models[0].engine",
        "models[1].name",
        "models[1].source",
        "models[1].replicas",
        "models[1].env.OMP_NUM_THREADS",
        "extra",
    ]
    assert found["gateway.prot"] == "unknown key; did you mean 'port'? (line 3)"
    assert found["gateway.replicas"] == "must be a whole number; got true (line 4)"
    assert "1024" in found["gateway.max_body_bytes"]
    assert found["models[0].replicas"] == "min is 3 but max is 1; min must not be above max (line 8)"
    assert "'vllm' or 'sim'" in found["models[0].engine"]
    assert "models[0]" in found["models[1].name"]
    assert "missing" in found["models[1].source"]
    assert "in quotes" in found["models[1].env.OMP_NUM_THREADS"]


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", "", "empty"),
        ("# only a comment\n", "", "empty"),
        ("- a\n- b\n", "", "must be a mapping"),
        ("just text", "", "must be a mapping"),
        ("models: [", "", "not YAML"),
        ("\tmodels: []", "", "line 1"),
        ("a: 1\n---\nb: 2\n", "", "another document"),
        ("x: \x00", "", "not YAML"),
        ("[" * 20_000, "", "nested too deeply"),
        ("x" * 2_000_000, "", "is it a cluster file?"),
        ("models: []", "models", "at least one"),
        ("models: {}", "models", "must be a list"),
        ("models: null", "models", "must be a list"),
        ("models: [null]", "models[0]", "must be a mapping"),
        ("gateway: {}\n", "models", "missing"),
        ("models: [{engine: sim}]", "models[0].name", "missing"),
        ("models: [{name: '', engine: sim}]", "models[0].name", "letters"),
        ("models: [{name: 'a b', engine: sim}]", "models[0].name", "letters"),
        ("models: [{name: 7, engine: sim}]", "models[0].name", "in quotes"),
        ("models: [{name: m, engine: sim, replicas: -1}]", "models[0].replicas", "greater than or equal to 0"),
        ("models: [{name: m, engine: sim, replicas: 1.5}]", "models[0].replicas", "number"),
        ("models: [{name: m, engine: sim, replicas: {min: .inf}}]", "models[0].replicas.min", "finite"),
        ("models: [{name: m, engine: sim, replicas: 1, replicas: 2}]", "models[0].replicas", "stands twice"),
        ("models: [{name: m, engine: sim, 1: 2}]", "models[0]", "keys are text"),
        ("models: &x [*x]", "models[0]", "alias"),
        ("models: !!python/object/apply:os.system [ls]", "models", "tag"),
        (MINIMAL + "gateway: {port: 65536}", "gateway.port", "65535"),
        (MINIMAL + "gateway: {port: '80'}", "gateway.port", "whole number"),
        (MINIMAL + "gateway: {idle_timeout_s: 0}", "gateway.idle_timeout_s", "greater than 0"),
        (MINIMAL + "gateway: {replicas: each_node}", "gateway.replicas", "a whole number, or every_node"),
        (
            MINIMAL + "gateway: {replicas: every_node, node_labels: {role: '!head'}}",
            "gateway.node_labels.role",
            "must have one plain value with every_node; got '!head'",
        ),
        (MINIMAL + "gateway: {forward_headers: [Host]}", "gateway.forward_headers[0]", "the gateway makes it anew"),
        (MINIMAL + "gateway: {forward_headers: [ok, TE]}", "gateway.forward_headers[1]", "about one connection"),
        (MINIMAL + "gateway: {forward_headers: [authorization]}", "gateway.forward_headers[0]", "a client's secret"),
        (
            MINIMAL + "gateway: {forward_headers: [x-rackserve-gateway]}",
            "gateway.forward_headers[0]",
            "between gateways",
        ),
        (MINIMAL + "gateway: {forward_headers: ['a: b']}", "gateway.forward_headers[0]", "is no name of a header"),
        (MINIMAL + "gatway: {}", "gatway", "did you mean 'gateway'?"),
    ],
)
def test_a_wrong_file_is_told_where_and_what(text: str, where: str, words: str) -> None:
    """Each mistake is named at its key, with what would be right."""
    found = problems(text)
    assert words in found[where]


def test_nested_aliases_cannot_grow_without_bound() -> None:
    """A few hundred bytes of aliases ("billion laughs") are refused instead of filling the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more than" in problems("\n".join(lines))[""]


def test_merged_defaults_are_allowed_and_may_be_overridden() -> None:
    """YAML's own `<<` saves repetition between models."""
    spec = load(
        "models:\n  - &base {name: a, engine: sim, replicas: 2}\n  - {<<: *base, name: b}\n  - {<<: *base, name: c}\n",
        "test.yaml",
    )
    assert [(model.name, model.replicas.min) for model in spec.models] == [("a", 2), ("b", 2), ("c", 2)]


def test_already_parsed_data_is_checked_by_the_same_rules() -> None:
    """`from_data` takes what a Serve config file holds inline."""
    assert from_data({"models": [{"name": "m", "engine": "sim"}]}, "args.spec").models[0].name == "m"
    with pytest.raises(SpecError, match=r"models\[0\].replicas: must be greater"):
        from_data({"models": [{"name": "m", "engine": "sim", "replicas": -1}]}, "args.spec")
    with pytest.raises(SpecError, match="not plain data"):
        from_data({"models": object()}, "args.spec")


def test_paths_are_written_as_operators_write_them() -> None:
    """Keys joined by dots, list positions in brackets."""
    assert path(("models", 0, "replicas", "min")) == "models[0].replicas.min"
    assert path(()) == ""
