"""`engine_args` are checked without vLLM, as its own parser would."""

from collections.abc import Mapping

import pytest

from cluster.errors import EngineStartError
from deployments.engines.vllm import known_arguments
from deployments.engines.vllm.args import argv
from deployments.engines.vllm.known_arguments import FILE, KnownArgument, problems

RIGHT: Mapping[str, object] = {
    "max_model_len": "16k",
    "max-num-seqs": 32,
    "gpu_memory_utilization": 0.1,
    "dtype": "bfloat16",
    "enforce_eager": True,
    "compilation_config": {"custom_ops": ["none"]},
    "kv_transfer_config": {"kv_connector": "NixlConnector", "kv_role": "kv_producer"},
    "speculative_config": {"method": "ngram", "num_speculative_tokens": 4},
    "lora_modules": ["sql=/adapters/sql"],
    "allowed_origins": ["http://a", "http://b"],
    "moe_backend": "Deep-Gemm",
    "max_lora_rank": 8,
    "kv_cache_memory_bytes": "4G",
    "seed": None,
}
WRONG: Mapping[str, object] = {
    "max_model_length": 2048,
    "max_model_len": "lots",
    "max_num_seqs": 32.5,
    "gpu_memory_utilization": True,
    "dtype": "bfloat61",
    "enforce_eager": 1,
    "disable_log_stats": "yes",
    "compilation_config": {"custom_opps": ["none"]},
    "kv_transfer_config": "NixlConnector",
    "speculative_config": "{method",
    "max_lora_rank": 9,
    "tensor_parallel_size": 2,
    "kv_cache_memory_bytes": "4 GB",
}


def test_right_arguments_pass() -> None:
    """Numbers, units, switches, choices, mappings, lists, dashes for underscores, and null for the default."""
    assert list(problems(RIGHT)) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_told(name: str) -> None:
    """Names, types, choices, keys inside a mapping, and what the cluster file says elsewhere."""
    ((key, message),) = problems({name: WRONG[name]})
    assert key == name
    assert message


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("block_sze", 32, "did you mean block_size"),
        ("dtype", "bfloat61", "did you mean bfloat16"),
        ("max_model_len", "lots", "a unit such as 16k"),
        ("max_lora_rank", 9, "it takes 1, 8, 16"),
        ("kv_transfer_config", {"kv_conector": "x"}, "did you mean 'kv_connector'"),
        ("served-model-name", "x", "the model's `name` decides it"),
    ],
)
def test_the_message_says_what_would_be_right(name: str, value: object, words: str) -> None:
    """A close name, the values there are, or the form of a value."""
    assert words in dict(problems({name: value}))[name]


def test_another_version_of_vllm_checks_its_arguments_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is of one version; where none is installed, as on a laptop that launches a cluster, it holds."""
    monkeypatch.setattr(known_arguments, "installed_version", lambda: "9.9.9")
    assert list(problems({"max_model_length": 1})) == []
    monkeypatch.setattr(known_arguments, "installed_version", lambda: "")
    assert len(list(problems({"max_model_length": 1}))) == 1


def test_an_optional_value_may_be_unset_by_a_word() -> None:
    """As on vLLM's command line."""
    assert KnownArgument(kind="int", is_optional=True).problem("None") == ""
    assert KnownArgument(kind="int").problem("None") != ""


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch and its libraries, at their import
def test_the_list_is_that_of_vllms_own_parser() -> None:
    """Made anew from the installed vLLM it is the same, and the parser agrees on what is right and what is wrong."""
    from deployments.engines.vllm.list_arguments import listed  # noqa: PLC0415
    from deployments.engines.vllm.plugin import EngineArgParser  # noqa: PLC0415

    assert FILE.read_text() == listed()
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: PLC0415

    parser = make_arg_parser(EngineArgParser())
    assert parser.parse_args(argv(RIGHT, parser._actions)).max_num_seqs == 32
    for name, value in WRONG.items():
        with pytest.raises(EngineStartError):
            parser.parse_args(argv({name: value}, parser._actions))
