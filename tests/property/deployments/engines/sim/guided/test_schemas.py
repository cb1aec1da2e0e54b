"""Schemas put together at random: a value that is given fits."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator

from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.schema_value import value_of

SMALL = st.integers(0, 6)
LEAVES = st.one_of(
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    st.builds(lambda low, width: {"type": "integer", "minimum": low, "maximum": low + width}, SMALL, SMALL),
    st.builds(lambda low, step: {"type": "number", "exclusiveMinimum": low, "multipleOf": step + 0.25}, SMALL, SMALL),
    st.builds(lambda low, width: {"type": "string", "minLength": low, "maxLength": low + width}, SMALL, SMALL),
    st.builds(lambda values: {"enum": values}, st.lists(SMALL, min_size=1)),
    st.just({"$ref": "#/$defs/shared"}),
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from("abcd")
    return st.one_of(
        st.builds(
            lambda properties, required, closed: {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
                **({"additionalProperties": False} if closed and required <= properties.keys() else {}),
            },
            st.dictionaries(names, inner, max_size=3),
            st.sets(names, max_size=2),
            st.booleans(),
        ),
        st.builds(
            lambda items, low, width: {"type": "array", "items": items, "minItems": low, "maxItems": low + width},
            inner,
            st.integers(0, 3),
            SMALL,
        ),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda branches: {"oneOf": branches}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2)),
    )


@given(st.recursive(LEAVES, _nested, max_leaves=8), st.integers(0, 1 << 64))
def test_values_fit(schema: dict[str, Any], seed: int) -> None:
    """A value fits the schema, or it is said that none was found; nothing else happens."""
    whole = {"$defs": {"shared": {"type": "string", "pattern": "^[a-f]+$"}}, **schema}
    try:
        value = value_of(whole, seed)
    except UnfitError:
        return
    Draft202012Validator(whole).validate(value)
    assert value_of(whole, seed) == value
