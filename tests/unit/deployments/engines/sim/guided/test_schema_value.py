"""Values of JSON schemas: they fit, are the same for the same seed, and what has none is said."""

import time
from typing import Any

import pytest
from jsonschema.validators import Draft202012Validator

from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.schema_value import value_of

NODE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["value", "next", "children"],
    "additionalProperties": False,
}
KIND_A = {"properties": {"kind": {"const": "a"}}, "required": ["kind"]}
FITTING: dict[str, Any] = {
    "anything": {},
    "true": True,
    "null or a short text": {"type": ["string", "null"], "maxLength": 4},
    "enum": {"enum": [1, "two", None]},
    "enum of one type": {"enum": [1, "two", None], "type": "string"},
    "const": {"const": {"a": [1]}},
    "bounds": {"type": "integer", "minimum": 3, "maximum": 3},
    "open bounds": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    "only an upper bound": {"type": "integer", "maximum": -5},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": 10},
    "whole multiples of a half": {"type": "integer", "multipleOf": 0.5},
    "lengths": {"type": "string", "minLength": 50, "maxLength": 51},
    "pattern": {"type": "string", "pattern": r"^[A-Z]{3}-\d{2,4}$"},
    "pattern anywhere in it": {"type": "string", "pattern": "[0-9]", "minLength": 1},
    "format": {"type": "string", "format": "date-time"},
    "unique items": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    "a tuple": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": False,
        "minItems": 2,
    },
    "contains": {"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}, "minContains": 2},
    "a mapping": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
    "names of a pattern": {"type": "object", "propertyNames": {"pattern": "^[a-z]{4}$"}, "minProperties": 2},
    "properties of a pattern": {
        "type": "object",
        "patternProperties": {r"^x_\w+$": {"type": "number", "multipleOf": 0.5}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    "required without properties": {"type": "object", "required": ["here"]},
    "properties without a type": {"properties": {"x": {"type": "string"}}, "required": ["x"]},
    "what a property needs": {
        "dependentRequired": {"a": ["b"]},
        "properties": {"b": {"type": "null"}},
        "required": ["a"],
    },
    "all of several": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}, "a": {"maxLength": 3}}, "required": ["b"]},
        ]
    },
    "exactly one of overlapping ones": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    "not": {"not": {"type": "string"}, "type": ["string", "integer"]},
    "if": {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}},
        "required": ["kind"],
        "if": KIND_A,
        "then": {"properties": {"size": {"type": "integer"}}, "required": ["size"]},
    },
    "a reference to a sibling": {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "string"}}},
    "a recursive list": {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    "a recursive tree": {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
    "an escaped reference": {"$defs": {"a/b": {"const": 1}}, "$ref": "#/$defs/a~1b"},
}


@pytest.mark.parametrize("schema", FITTING.values(), ids=FITTING)
def test_values_fit(schema: Any) -> None:  # noqa: ANN401 - any JSON
    """For every seed, and the same value for the same seed."""
    for seed in range(25):
        value = value_of(schema, seed)
        Draft202012Validator(schema).validate(value)
        assert value_of(schema, seed) == value


def test_seeds_differ() -> None:
    """Another seed, another value."""
    assert len({value_of({"type": "string"}, seed) for seed in range(20)}) > 5


def test_optional_properties_are_filled_in() -> None:
    """An app sees what it may get, not only what it must."""
    value = value_of({"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}, 1)
    assert list(value) == ["a", "b"]


UNFIT: dict[str, tuple[Any, str]] = {
    "an unknown type": ({"type": "strange"}, r"invalid JSON schema at \$\.type"),
    "no schema": ([1], "a JSON schema is an object"),
    "a broken pattern": ({"type": "string", "pattern": "(["}, "invalid JSON schema|invalid regex"),
    "another document": ({"$ref": "http://127.0.0.1/schema"}, "only parts of the same schema"),
    "a reference to nothing": ({"$ref": "#/nowhere"}, "leads nowhere"),
    "a reference to itself": ({"$ref": "#"}, "refers to itself"),
    "alternatives that are the whole": ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, "steps"),
    "an endless value": ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "nested deeper"),
    "false": (False, "false"),
    "an empty range": ({"type": "integer", "minimum": 5, "maximum": 4}, "no number"),
    "too many items": ({"type": "array", "minItems": 10**9}, "an array of at least"),
    "too long a text": ({"type": "string", "minLength": 10**9}, "a string of at least"),
    "an endless pattern": ({"type": "string", "pattern": "a{100000}"}, "longer than"),
    "a contradiction": ({"type": "string", "not": {"type": "string"}}, "contradict"),
    "too large": ({"description": "x" * (1 << 17)}, "bytes"),
}


@pytest.mark.parametrize(("schema", "why"), UNFIT.values(), ids=UNFIT)
def test_what_has_no_value_is_said(schema: Any, why: str) -> None:  # noqa: ANN401 - any JSON
    """At once, whatever the schema does to keep the walk busy."""
    began_s = time.process_time()
    with pytest.raises(UnfitError, match=why):
        value_of(schema, 1)
    assert time.process_time() - began_s < 2
