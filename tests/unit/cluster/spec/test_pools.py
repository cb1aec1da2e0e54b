"""Pools of a model in the cluster file: what each runs, and how every mistake is told."""

import pytest

from cluster.errors import SpecError
from cluster.spec.cluster_file import load
from cluster.spec.role import Role

TWO_POOLS = """
models:
  - name: chat
    engine: sim
    replicas: 2
    cpus: 3
    engine_args: {runner: generate, seed: 1}
    env: {A: "1", B: "1"}
    sim: {prefill_tokens_per_s: 5, kv_blocks: 7}
    planned: {decode_tokens_per_s: 1000, kv_tokens: 5000}
    autoscaling: {headroom: 1, scale_down_after_seconds: 9}
    pools:
      - name: first
        role: prefill
        sim: {kv_blocks: 4096}
        engine_args: {seed: 2}
        env: {B: "2"}
        planned: {decode_tokens_per_s: 300}
        autoscaling: {headroom: 0.5}
      - name: second
        role: decode
        replicas: {min: 0, max: 4}
        parallel: {tensor: 2}
        cpus: 0.5
        accelerator: H100
        node_group: h100
        gpus_per_replica: 0
  - {name: plain, engine: sim}
"""


def problems(text: str) -> dict[str, str]:
    """Return what `load` says is wrong with `text`, by path."""
    with pytest.raises(SpecError) as caught:
        load(text, "test.yaml")
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_pool_runs_what_it_says_and_else_what_the_model_says() -> None:
    """Of mappings of settings each key wins by itself, also one that is set to the default."""
    first, second, plain = load(TWO_POOLS, "f").in_pools()
    assert [each.label for each in (first, second, plain)] == ["chat:first", "chat:second", "plain"]
    assert (first.role, second.role, plain.role) == (Role.PREFILL, Role.DECODE, Role.BOTH)
    assert first.engine_args == {"runner": "generate", "seed": 2}
    assert first.env == {"A": "1", "B": "2"}
    assert (first.sim.prefill_tokens_per_s, first.sim.kv_blocks) == (5, 4096)
    assert (first.autoscaling.headroom, first.autoscaling.scale_down_after_seconds) == (0.5, 9)
    assert (first.planned.decode_tokens_per_s, first.planned.kv_tokens) == (300, 5000)
    assert (second.planned.decode_tokens_per_s, second.planned.start_s) == (1000, None)
    assert (first.replicas.min, first.cpus, first.parallel.gpus, first.accelerator) == (2, 3, 1, "")
    assert (second.sim.kv_blocks, second.engine_args["seed"], second.env["B"]) == (7, 1, "1")
    assert (second.replicas.min, second.replicas.max, second.cpus, second.parallel.tensor) == (0, 4, 0.5, 2)
    assert (second.accelerator, second.node_group, second.gpus_per_replica) == ("H100", "h100", 0)


def test_pools_survive_being_written_and_read() -> None:
    """`rackserve scale` reads the running spec back, and the gateway gets it as JSON."""
    spec = load(TWO_POOLS, "f")
    assert load(spec.model_dump_json(exclude_defaults=True), "again").in_pools() == spec.in_pools()
    assert [type(model).model_validate(model.model_dump(mode="json")).in_pools() for model in spec.models] == [
        model.in_pools() for model in spec.models
    ]


def test_a_pool_of_a_pool_is_itself() -> None:
    """So code that works pool by pool may be given a model or one of its pools."""
    for pool in load(TWO_POOLS, "f").in_pools():
        assert pool.in_pools() == (pool,)


def test_every_mistake_in_pools_is_told_at_its_key() -> None:
    """All at once: names, roles, keys, and values of other kinds."""
    found = problems(
        """\
models:
  - name: m
    engine: sim
    pools:
      - {name: a, role: prefil}
      - {name: a, rol: both}
      - {name: A b, replicas: {min: 3, max: 1}, sim: {kv_block: 1}}
      - 7
  - {name: n, engine: sim, pools: {}}
"""
    )
    assert list(found) == [
        "models[0].pools[0].role",
        "models[0].pools[1].name",
        "models[0].pools[1].rol",
        "models[0].pools[2].name",
        "models[0].pools[2].replicas",
        "models[0].pools[2].sim.kv_block",
        "models[0].pools[3]",
        "models[1].pools",
    ]
    assert found["models[0].pools[0].role"].startswith("must be 'both', 'prefill' or 'decode'")
    assert "already the name of pools[0]" in found["models[0].pools[1].name"]
    assert "did you mean 'role'" in found["models[0].pools[1].rol"]


@pytest.mark.parametrize(
    ("roles", "wrong"),
    [
        (["prefill"], [0]),
        (["prefill", "prefill"], [0, 1]),
        (["decode"], [0]),
        (["prefill", "decode"], []),
        (["prefill", "both"], []),
        (["both", "decode"], []),
        (["both", "prefill", "decode"], []),
        (["both"], []),
    ],
)
def test_a_pool_has_another_that_does_the_other_half(roles: list[str], wrong: list[int]) -> None:
    """What computes prompts needs one that generates answers, and the reverse; one that does both will do."""
    pools = ", ".join(f"{{name: p{number}, role: {role}}}" for number, role in enumerate(roles))
    text = f"models: [{{name: m, engine: sim, pools: [{pools}]}}]"
    if not wrong:
        assert [pool.role for pool in load(text, "f").in_pools()] == roles
    else:
        assert list(problems(text)) == [f"models[0].pools[{number}].role" for number in wrong]


@pytest.mark.parametrize(
    ("model", "prefill", "decode", "where"),
    [
        ("engine: sim", "sim: {block_tokens: 16}", "", "models[0].pools[1]"),
        ("engine: sim", "", "sim: {block_tokens: 16}", "models[0].pools[1].sim.block_tokens"),
        ("engine: sim, sim: {block_tokens: 16}", "sim: {block_tokens: 32}", "", "models[0].sim.block_tokens"),
        ("engine: sim, sim: {block_tokens: 16}", "", "", ""),
        ("source: x", "engine_args: {block_size: 16}", "engine_args: {block-size: 32}", "models[0].pools[1].engine_args.block-size"),  # noqa: E501 - a row
        ("source: x", "engine_args: {block_size: 16}", "", ""),
        ("source: x", "engine_args: {kv_cache_dtype: fp8}", "", "models[0].pools[1]"),
        ("source: x", "engine_args: {kv_cache_dtype: bfloat16}", "", ""),
        ("source: x", "engine_args: {dtype: bfloat16}", "engine_args: {dtype: float16}", "models[0].pools[1].engine_args.dtype"),  # noqa: E501 - a row
        ("source: x", "speculative: {method: mtp}", "speculative: {method: ngram}", "models[0].pools[1].speculative.method"),  # noqa: E501 - a row
        ("source: x", "speculative: {method: eagle, model: a}", "speculative: {method: eagle, model: b}", "models[0].pools[1].speculative.model"),  # noqa: E501 - a row
        ("source: x, speculative: {method: mtp}", "", "speculative: {method: none}", "models[0].pools[1].speculative.method"),  # noqa: E501 - a row
        ("source: x, speculative: {method: mtp}", "", "", ""),
        ("source: x", "", "speculative: {method: ngram}", ""),
    ],
)  # fmt: skip
def test_pools_that_pass_kv_blocks_on_have_equal_blocks(model: str, prefill: str, decode: str, where: str) -> None:
    """As far as the file says: block sizes and precisions; two whole pools may differ, as nothing passes between."""

    def text(first: str, second: str) -> str:
        pools = f"[{{name: a, role: {first}, {prefill}}}, {{name: b, role: {second}, {decode}}}]"
        return f"models: [{{name: m, {model}, pools: {pools}}}]"

    if where:
        found = problems(text("prefill", "decode"))
        assert list(found) == [where]
        assert "KV blocks pass between the two" in found[where]
    else:
        load(text("prefill", "decode"), "f")
    load(text("both", "both"), "f")


def test_a_tenant_may_be_allowed_an_adapter_of_a_pool() -> None:
    """Adapters that only a pool's arguments name are models as much as those of the model."""
    load(
        """
        gateway: {tenants: [{name: t, key_file: k, models: [lora]}]}
        models: [{name: m, source: x, pools: [{name: a, engine_args: {lora_modules: [lora=x]}}]}]
        """,
        "f",
    )
