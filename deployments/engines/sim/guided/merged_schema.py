"""One schema out of several that hold together: `allOf`, `$ref` beside other keywords, a chosen branch."""

from typing import Any, Final

Schema = dict[str, Any]

_LARGER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def merged(one: Schema, other: Schema) -> Schema:
    """Return a schema whose values mostly fit both; where both have a keyword that cannot be joined, `other`'s stays.

    Whoever samples from it checks the value against the whole schema.
    """
    found = dict(one)
    for key, value in other.items():
        found[key] = _joined(key, found[key], value) if key in found else value
    return found


def _joined(key: str, one: Any, other: Any) -> Any:  # noqa: ANN401, C901, PLR0911 - any JSON; one case a kind of keyword
    if one == other:
        return one
    if key in _LARGER and not isinstance(one, bool):
        return max(one, other)
    if key in _SMALLER and not isinstance(one, bool):
        return min(one, other)
    match key:
        case "properties" | "patternProperties":
            both = {name: {"allOf": [one[name], other[name]]} for name in one.keys() & other.keys()}
            return {**one, **other, **both}
        case "required":
            return list(dict.fromkeys([*one, *other]))
        case "items":
            return {"allOf": [one, other]}
        case "allOf":
            return [*one, *other]
        case "anyOf" | "oneOf":
            return [{"allOf": [left, right]} for left in one for right in other]
        case "enum":
            return [value for value in one if value in other]
        case "type":
            return _common_types(one, other)
        case _:
            return other


def _common_types(one: str | list[str], other: str | list[str]) -> list[str]:
    left, right = ([types] if isinstance(types, str) else types for types in (one, other))
    common = [kind for kind in left if kind in right]
    if "integer" not in common and {"integer", "number"} <= {*left, *right}:
        common.append("integer")
    return common
