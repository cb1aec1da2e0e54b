"""One walk through a JSON schema, which makes a value on its way; bounded in steps and depth, whatever refers to what.

`not` and the exactness of `oneOf` are passed over: `schema_value` checks the finished value.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final
from urllib.parse import unquote

from jsonschema.validators import Draft202012Validator

from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.merged_schema import Schema, merged
from deployments.engines.sim.guided.numbers import number_within
from deployments.engines.sim.guided.strings import string_within, word

MAX_VISITS: Final = 4096
"""Most subschemas that one walk visits: what bounds its time, whatever refers to whatever."""
FULL_DEPTH: Final = 4
"""Nesting down to which optional parts are filled in; below it a value is as small as its schema allows."""
MAX_DEPTH: Final = 32
"""Deepest nesting of a value."""
MAX_ITEMS: Final = 1024
"""Most items or properties that a schema may demand."""
MAX_TRIES: Final = 16
"""Draws of an item that must differ from those before it."""

_SIMPLE: Final = ("null", "boolean", "integer", "number", "string", "array", "object")
_TYPE_OF_KEYWORD: Final = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "patternProperties": "object",
    "minProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "contains": "array",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
}


_IS_TYPE: Final = Draft202012Validator.TYPE_CHECKER.is_type


class VisitsSpentError(UnfitError):
    """A walk has visited `MAX_VISITS` subschemas."""


class SchemaWalk:
    """One walk through a schema.

    Args:
        root: the whole schema, which `$ref` refers into.
        rng: makes the choices.
    """

    def __init__(self, root: Any, rng: Random) -> None:  # noqa: ANN401 - any JSON
        self._root = root
        self._rng = rng
        self._visits = 0

    def value(self, schema: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON
        """Return a value for a subschema at a nesting `depth`."""
        if depth > MAX_DEPTH:
            raise UnfitError(f"values are nested deeper than {MAX_DEPTH}")
        if schema is False:
            raise UnfitError("a part of the schema is `false`")
        flat = self._flat({} if schema is True else schema, set())
        for choice in ("oneOf", "anyOf"):
            if choice in flat:
                rest = {key: value for key, value in flat.items() if key != choice}
                branches = self._by_preference(flat[choice], depth, self._simplicity)
                return self._first_fitting([merged(rest, self._flat(one, set())) for one in branches], depth)
        if "const" in flat:
            return flat["const"]
        if "enum" in flat:
            return self._rng.choice(self._of_type(flat["enum"], flat))
        if "if" in flat:
            return self._conditional(flat, depth)
        types = self._by_preference(self._types(flat), depth, _SIMPLE.index)
        return self._first_fitting([{**flat, "type": kind} for kind in types], depth, self._typed)

    def _typed(self, schema: Schema, depth: int) -> Any:  # noqa: ANN401 - any JSON
        match schema["type"]:
            case "null":
                return None
            case "boolean":
                return self._rng.random() < 0.5  # noqa: PLR2004 - a coin
            case "integer" | "number" as kind:
                return number_within(schema, self._rng, whole=kind == "integer")
            case "string":
                return string_within(schema, self._rng)
            case "array":
                return self._array(schema, depth)
            case _:
                return self._object(schema, depth)

    def _flat(self, schema: Any, seen: set[str]) -> Schema:  # noqa: ANN401 - any JSON
        """Return a schema without `$ref` and `allOf` at its top."""
        self._visits += 1
        if self._visits > MAX_VISITS:
            raise VisitsSpentError(f"the JSON schema takes more than {MAX_VISITS} steps to fill in")
        if isinstance(schema, bool):
            return {} if schema else {"enum": []}
        found = {key: value for key, value in schema.items() if key not in ("$ref", "$dynamicRef", "allOf")}
        reference = schema.get("$ref", schema.get("$dynamicRef"))
        if reference is not None:
            if reference in seen:
                raise UnfitError(f"$ref {reference!r} refers to itself")
            found = merged(self._flat(self._referred(reference), seen | {reference}), found)
        for part in schema.get("allOf", ()):
            found = merged(found, self._flat(part, seen))
        return self._flat(found, seen) if "allOf" in found else found

    def _referred(self, reference: str) -> Any:  # noqa: ANN401 - any JSON
        if not reference.startswith("#"):
            raise UnfitError(f"$ref {reference!r}: only parts of the same schema (`#/…`) can be referred to")
        found = self._root
        try:
            for step in unquote(reference[1:]).split("/")[1:]:
                name = step.replace("~1", "/").replace("~0", "~")
                found = found[int(name)] if isinstance(found, list) else found[name]
        except (LookupError, ValueError, TypeError) as exc:
            raise UnfitError(f"$ref {reference!r} leads nowhere") from exc
        return found

    def _by_preference(self, choices: Sequence[Any], depth: int, key: Callable[[Any], int]) -> list[Any]:
        """Return choices in the order in which to try them: at random, `null` late; deep down the simplest first."""
        if depth >= FULL_DEPTH:
            return sorted(choices, key=key)
        drawn = self._rng.sample(choices, len(choices))
        return sorted(drawn, key=lambda one: key(one) == 0)

    def _simplicity(self, schema: Any) -> int:  # noqa: ANN401 - any JSON
        flat = self._flat(schema, set())
        if "const" in flat or "enum" in flat:
            return 1
        return min((_SIMPLE.index(kind) for kind in self._types(flat)), default=len(_SIMPLE))

    def _first_fitting(
        self, schemas: Sequence[Schema], depth: int, make: Callable[[Schema, int], Any] | None = None
    ) -> Any:  # noqa: ANN401 - any JSON
        why: UnfitError | None = None
        for schema in schemas:
            try:
                return (make or self.value)(schema, depth)
            except VisitsSpentError:
                raise
            except UnfitError as exc:
                why = exc
        raise why or UnfitError("a part of the schema has no type that fits all its keywords")

    def _conditional(self, flat: Schema, depth: int) -> Any:  # noqa: ANN401 - any JSON
        rest = {key: value for key, value in flat.items() if key not in ("if", "then", "else")}
        met = merged(merged(rest, self._flat(flat["if"], set())), self._flat(flat.get("then", True), set()))
        unmet = merged(rest, self._flat(flat.get("else", True), set()))
        return self._first_fitting(self._rng.sample([met, unmet], 2), depth)

    def _types(self, schema: Schema) -> list[str]:
        asked = schema.get("type")
        if asked is None:
            return [next((kind for key, kind in _TYPE_OF_KEYWORD.items() if key in schema), "string")]
        return [asked] if isinstance(asked, str) else list(asked)

    def _of_type(self, values: Sequence[Any], schema: Schema) -> Sequence[Any]:
        fitting = [
            value
            for value in values
            if "type" not in schema or any(_IS_TYPE(value, kind) for kind in self._types(schema))
        ]
        if not fitting:
            raise UnfitError("an `enum` without a value that fits")
        return fitting

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        items, leading = schema.get("items", True), list(schema.get("prefixItems", ()))
        if isinstance(items, list):  # in drafts up to 2019-09 a list of items is what is `prefixItems` today
            leading, items = items, schema.get("additionalItems", True)
        fewest = max(int(schema.get("minItems", 0)), int(schema.get("minContains", 1)) if "contains" in schema else 0)
        most = min(int(schema.get("maxItems", MAX_ITEMS)), MAX_ITEMS)
        if items is False:
            most = min(most, len(leading))
        if fewest > most:
            raise UnfitError(f"an array of at least {fewest} and at most {most} items")
        wanted = fewest if depth >= FULL_DEPTH else min(most, max(fewest, len(leading), self._rng.randint(1, 3)))
        found: list[Any] = []
        for place in range(wanted):
            kind = leading[place] if place < len(leading) else items
            if "contains" in schema and place >= wanted - int(schema.get("minContains", 1)):
                kind = {"allOf": [kind, schema["contains"]]}
            try:
                found.append(
                    self._unlike(found, kind, depth) if schema.get("uniqueItems") else self.value(kind, depth + 1)
                )
            except VisitsSpentError:
                raise
            except UnfitError:
                if place < fewest:
                    raise
                break
        return found

    def _unlike(self, others: list[Any], schema: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON
        for _ in range(MAX_TRIES):
            value = self.value(schema, depth + 1)
            if value not in others:
                return value
        raise UnfitError("an array with more unique items than its items have values")

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        required = list(schema.get("required", ()))
        most = min(int(schema.get("maxProperties", MAX_ITEMS)), MAX_ITEMS)
        names = list(required)
        if depth < FULL_DEPTH:
            names += [name for name in properties if name not in names][: max(0, most - len(names))]
        for name in names:  # grows while it is walked through, as what is needed may need more
            needed = schema.get("dependentRequired", {}).get(name, ())
            names += [other for other in needed if other not in names]
        others = schema.get("additionalProperties", next(iter(schema.get("patternProperties", {}).values()), True))
        found: dict[str, Any] = {}
        for name in sorted(names, key=lambda name: list(properties).index(name) if name in properties else MAX_ITEMS):
            try:
                found[name] = self.value(properties.get(name, others), depth + 1)
            except VisitsSpentError:
                raise
            except UnfitError:
                if name in required:
                    raise
        self._fill(found, schema, depth, most)
        return found

    def _fill(self, found: dict[str, Any], schema: Schema, depth: int, most: int) -> None:
        """Add properties whose names the schema leaves open: as many as it demands, and two to a plain mapping."""
        fewest = int(schema.get("minProperties", 0))
        is_mapping = not schema.get("properties") and isinstance(schema.get("additionalProperties"), dict)
        wanted = min(most, max(fewest, 2 if is_mapping and depth < FULL_DEPTH else 0))
        patterns = schema.get("patternProperties", {})
        for _ in range(MAX_TRIES + wanted):
            if len(found) >= wanted:
                return
            kind = schema.get("additionalProperties", True)
            if patterns:
                pattern, kind = self._rng.choice(list(patterns.items()))
                name = string_within({"pattern": pattern}, self._rng)
            elif isinstance(schema.get("propertyNames"), dict):
                name = str(self.value({"type": "string", **schema["propertyNames"]}, depth + 1))
            else:
                name = f"{word(self._rng)}_{len(found)}"
            found.setdefault(name, self.value(kind, depth + 1))
