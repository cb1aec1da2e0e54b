"""Whatever text a cluster file holds, it becomes a spec or a SpecError: nothing else."""

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import SpecError, SpecProblem
from cluster.spec.cluster_file import from_data, load

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_junk = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,12}", fullmatch=True)


def _mapping(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


_models = st.lists(
    st.builds(
        lambda name, rest: {"name": name, "engine": "sim", **rest},
        _names,
        _mapping(
            replicas=st.integers(1, 9) | st.integers(0, 9).map(lambda n: {"min": n, "max": n + 1}),
            parallel=_mapping(tensor=st.integers(1, 8), pipeline=st.integers(1, 4)),
            engine_args=st.dictionaries(
                st.text(min_size=1, max_size=6), st.integers() | st.text(max_size=6), max_size=3
            ),
            cpus=st.floats(0, 64, allow_nan=False),
            pools=st.lists(
                st.fixed_dictionaries(
                    {"name": st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)},
                    optional={
                        "replicas": st.integers(1, 9),
                        "parallel": _mapping(tensor=st.integers(1, 8)),
                        "env": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
                        "sim": _mapping(kv_blocks=st.integers(1, 9_000)),
                        "cpus": st.floats(0, 64, allow_nan=False),
                    },
                ),
                max_size=3,
                unique_by=lambda pool: pool["name"],
            ),
        ),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda model: model["name"],
)
_specs = st.builds(
    lambda models, rest: {"models": models, **rest},
    _models,
    _mapping(gateway=_mapping(port=st.integers(0, 65535), replicas=st.integers(1, 256)), cluster=_mapping()),
)


def problems(text: str) -> list[SpecProblem]:
    """Return what is wrong with `text`; nothing if it is a good cluster file."""
    try:
        load(text, "any")
    except SpecError as error:
        return list(error.problems)
    return []


@given(st.text(max_size=200))
def test_any_text_gives_a_spec_or_a_spec_error(text: str) -> None:
    """No text makes the reader raise anything but SpecError, and each problem says something."""
    assert all(problem.message for problem in problems(text))


@given(st.dictionaries(st.sampled_from(["cluster", "gateway", "models", "model"]), _junk | st.lists(_junk)))
def test_any_data_gives_a_spec_or_a_spec_error(data: dict[str, Any]) -> None:
    """Nor does any data with the right keys and the wrong values; paths start at a key."""
    assert all(not problem.path or problem.path[0].isalpha() for problem in problems(yaml.safe_dump(data)))


@given(_specs)
@settings(max_examples=50)
def test_a_good_file_survives_a_round_trip(data: dict[str, Any]) -> None:
    """Written as YAML or given as data, a good cluster reads as the same spec, and so does the spec's own dump."""
    spec = load(yaml.safe_dump(data), "good")
    assert from_data(data, "good") == spec
    assert from_data(json.loads(spec.model_dump_json()), "dump") == spec


@given(_specs, st.sampled_from(["cluster", "gateway", "models"]), st.text("abcdef_", min_size=12, max_size=16))
@settings(max_examples=50)
def test_an_unknown_key_is_always_found(data: dict[str, Any], section: str, key: str) -> None:
    """A key that does not exist is reported at its place, wherever it stands."""
    target = data["models"][0] if section == "models" else data.setdefault(section, {})
    target[key] = 1
    where = f"models[0].{key}" if section == "models" else f"{section}.{key}"
    assert [problem.path for problem in problems(yaml.safe_dump(data))] == [where]
