"""What only the whole product knows of a cluster file: told beside all its other mistakes."""

import pytest

from cluster.errors import SpecError
from cluster.spec import cluster_file
from deployments.replica.cluster_rules import cluster_rules


def problems(text: str) -> dict[str, str]:
    """Return what is wrong with `text`, by path."""
    with pytest.raises(SpecError) as caught:
        cluster_file.load(text, "test.yaml", cluster_rules)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_policies_and_engine_arguments_are_told_beside_every_other_mistake() -> None:
    """One look mends the file: wrong types, unknown policies and wrong arguments of all models, with their lines."""
    found = problems(
        """\
models:
  - name: a
    engine: sim
    policy: best
    replicas: zwei
  - name: b
    source: org/b
    policy: least-load
    engine_args:
      max_model_length: 2048
      dtype: bfloat61
      block_size: 32
"""
    )
    assert set(found) == {
        "models[0].policy",
        "models[0].replicas",
        "models[1].policy",
        "models[1].engine_args.max_model_length",
        "models[1].engine_args.dtype",
    }
    assert "expected_ttft" in found["models[0].policy"]
    assert "did you mean max_model_len" in found["models[1].engine_args.max_model_length"]
    assert found["models[1].engine_args.dtype"].endswith("(line 11)")


def test_a_rule_of_one_part_is_told_beside_these_rules() -> None:
    """A rule over several keys of a model is not taken for one that is told already."""
    found = problems(
        "models: [{name: a, engine: sim, policy: best, parallel: {tensor: 2, expert: 3}}]\n"
        "gateway: {tenants: [{name: t, models: [a]}]}"
    )
    assert set(found) == {"models[0].policy", "models[0].parallel", "gateway.tenants[0]"}


def test_a_simulated_engine_has_no_arguments_to_check() -> None:
    """`engine_args` are vLLM's."""
    spec = cluster_file.load("models: [{name: m, engine: sim, engine_args: {any: 1}}]", "f", cluster_rules)
    assert spec.models[0].engine_args == {"any": 1}


def test_engine_arguments_of_pools_are_checked_too() -> None:
    """Each at its own place."""
    found = problems(
        """\
models:
  - name: a
    source: org/a
    pools:
      - {name: one, engine_args: {max_model_length: 2048}}
      - {name: two, engine_args: {dtype: bfloat61}}
"""
    )
    assert set(found) == {"models[0].pools[0].engine_args.max_model_length", "models[0].pools[1].engine_args.dtype"}


def test_divided_pools_need_the_policy_that_counts_seconds() -> None:
    """A policy that cannot weigh where a prompt is computed is told at its key; pools that do both may have any."""
    pools = "[{name: p, role: prefill}, {name: d, role: decode}]"
    found = problems(f"models: [{{name: m, engine: sim, policy: least_load, pools: {pools}}}]")
    assert list(found) == ["models[0].policy"]
    assert "least_load counts no seconds" in found["models[0].policy"]
    for policy, fit in (("expected_ttft:exact", pools), ("least_load", "[{name: a}, {name: b}]")):
        cluster_file.load(f"models: [{{name: m, engine: sim, policy: '{policy}', pools: {fit}}}]", "f", cluster_rules)


def test_a_model_that_embeds_has_nothing_of_one_that_generates() -> None:
    """No residency, no pools that prefill or decode, no parsers of answers."""
    found = problems(
        """\
models:
  - name: vectors
    engine: sim
    task: embed
    policy: expected_ttft:exact
    reasoning_parser: qwen3
    tool_call_parser: hermes
    pools: [{name: p, role: prefill}, {name: d, role: decode}]
"""
    )
    keys = {"policy", "reasoning_parser", "tool_call_parser", "pools"}
    assert set(found) == {f"models[0].{key}" for key in keys}
    assert all("embed" in message for message in found.values())
    spec = cluster_file.load("models: [{name: m, engine: sim, task: score}]", "f", cluster_rules)
    assert spec.models[0].task == "score"


def test_parsers_are_checked_before_anything_starts() -> None:
    """A name that vLLM does not have, and one that is said twice; with a plugin any name may be right."""
    found = problems(
        """\
models:
  - {name: a, source: org/a, tool_call_parser: hermess}
  - {name: b, source: org/b, reasoning_parser: qwen33, chat_template: x, engine_args: {chat_template: y}}
  - {name: c, source: org/c, tool_call_parser: mine, engine_args: {tool_parser_plugin: mine.py}}
  - {name: d, source: org/d, tool_call_parser: none, reasoning_parser: auto, engine_args: {tool_call_parser: hermes}}
"""
    )
    assert set(found) == {
        "models[0].tool_call_parser",
        "models[1].reasoning_parser",
        "models[1].chat_template",
        "models[3].tool_call_parser",
    }
    assert "did you mean hermes" in found["models[0].tool_call_parser"]
    assert "engine_args.chat_template" in found["models[1].chat_template"]


def test_where_media_come_from_is_said_in_one_place() -> None:
    """`media.domains`, not vLLM's own argument; files are never read."""
    found = problems(
        "models: [{name: a, source: org/a, engine_args: {allowed_media_domains: [b.c], allowed_local_media_path: /}}]"
    )
    assert "media.domains" in found["models[0].engine_args.allowed_media_domains"]
    assert "no prompt reads a file" in found["models[0].engine_args.allowed_local_media_path"]
