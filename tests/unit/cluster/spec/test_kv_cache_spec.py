"""The KV cache in the cluster file: what is accepted, what an offload needs, and what pools may say."""

import pytest

from cluster.errors import SpecError
from cluster.spec.cluster_file import from_data, load
from cluster.spec.model_parts.kv_cache_spec import OffloadSpec

MODEL = "models:\n  - {{name: m, engine: sim, kv_cache: {}}}\n"


def _problems(text: str) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        load(text, "test.yaml")
    return [(problem.path, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("kv_cache", "words"),
    [
        ("{offload: {disk_gb: 5, disk_path: /kv}}", ["cpu_gb is missing", "host memory"]),
        ("{offload: {cpu_gb: 1, disk_gb: 5}}", ["disk_path is missing"]),
        ("{offload: {cpu_gb: 1, disk_path: /kv}}", ["disk_gb is missing"]),
        ("{offload: {cpu_gb: 1, disk_gb: 5, disk_path: kv}}", ["must begin with /"]),
        ("{offload: {disk_gb: 5}}", ["cpu_gb is missing", "disk_path is missing"]),
        ("{offload: {cpu_gb: -1}}", ["greater than or equal to 0"]),
        ("{offload: {cpu_gb: .inf}}", ["must be a finite number"]),
        ("{offload: {gpu_gb: 1}}", ["did you mean"]),
        ("{dtype: fp7}", ["must be one of", "'fp8'"]),
    ],
)
def test_what_does_not_fit_is_told(kv_cache: str, words: list[str]) -> None:
    """Before anything starts, all of it at once, with what would be right."""
    ((path, message),) = _problems(MODEL.format(kv_cache))
    assert path.startswith("models[0].kv_cache")
    assert all(word in message for word in words), message


def test_a_pool_has_its_own_of_each() -> None:
    """Precision and offloading each come from the pool, or else from the model; read again they are the same."""
    text = """
    models:
      - name: m
        source: s
        kv_cache: {dtype: fp8, offload: {cpu_gb: 2}}
        pools:
          - {name: big, kv_cache: {offload: {cpu_gb: 8, disk_gb: 100, disk_path: /kv}}}
          - {name: none, kv_cache: {offload: {}}}
          - {name: exact, kv_cache: {dtype: bfloat16}}
    """
    spec = load(text, "f")
    for read in (spec, from_data(spec.model_dump(mode="json"), "f")):
        big, none, exact = (pool.kv_cache for pool in read.in_pools())
        assert (big.dtype, big.offload.cpu_bytes, big.offload.disk_bytes) == ("fp8", 8 * 10**9, 10**11)
        assert (none.dtype, bool(none.offload)) == ("fp8", False)
        assert (exact.dtype, exact.offload) == ("bfloat16", OffloadSpec(cpu_gb=2))


@pytest.mark.parametrize("where", ["kv_cache: {dtype: fp8}", "engine_args: {kv_cache_dtype: fp8}"])
def test_pools_that_pass_blocks_on_store_them_alike(where: str) -> None:
    """Wherever the precision is given, and it is told where that is; vLLM's own argument comes first."""
    text = """
    models:
      - name: m
        source: s
        pools:
          - {name: p, role: prefill, %s}
          - {name: d, role: decode, %s}
    """
    ((path, message),) = _problems(text % (where, "kv_cache: {dtype: bfloat16}"))
    assert path == "models[0].pools[1].kv_cache.dtype"
    assert "kv_cache_dtype is bfloat16 in pools[1] and fp8 in pools[0]" in message
    assert load(text % (where, "kv_cache: {dtype: fp8}"), "f")
    assert load(text % (where, "kv_cache: {dtype: bfloat16}, engine_args: {kv-cache-dtype: fp8}"), "f")


@pytest.mark.parametrize(
    ("model", "path", "key"),
    [
        ("engine: sim, sim: {prefix_caching: false}, kv_cache: {offload: {cpu_gb: 1}}", "kv_cache.offload", "sim."),
        (
            (
                "source: s, kv_cache: {offload: {cpu_gb: 1}}, "
                "pools: [{name: a, engine_args: {enable-prefix-caching: false}}]"
            ),
            "kv_cache.offload",
            "engine_args.",
        ),
        (
            (
                "source: s, engine_args: {enable_prefix_caching: false}, "
                "pools: [{name: a, kv_cache: {offload: {cpu_gb: 1}}}]"
            ),
            "pools[0].kv_cache.offload",
            "engine_args.",
        ),
    ],
)
def test_without_a_prefix_cache_nothing_is_found_again(model: str, path: str, key: str) -> None:
    """An offload that could only cost is refused, at the place where it is asked for."""
    ((found, message),) = _problems(f"models: [{{name: m, {model}}}]")
    assert found == f"models[0].{path}"
    assert f"{key}" in message
    assert "no prompt's blocks are found again" in message
