"""A value that fits a JSON schema; equal seeds give equal values.

`jsonschema` checks the schema, and the value that a walk through it makes; another walk follows if it does not fit.
"""

import re
from random import Random
from typing import Any, Final

import msgspec
from jsonschema import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.schema_walk import SchemaWalk, VisitsSpentError

MAX_SCHEMA_BYTES: Final = 1 << 16
"""Largest schema that is taken, bytes of JSON."""
MAX_WALKS: Final = 16
"""Values that are made before a schema counts as one that none fits."""


def value_of(schema: Any, seed: int) -> Any:  # noqa: ANN401 - any JSON
    """Return a value that fits a schema.

    Args:
        schema: the schema, as JSON.
        seed: equal seeds give equal values.

    Raises:
        UnfitError: the schema is wrong, too large or refers to another document, or no value was found that fits.
    """
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        raise UnfitError(f"the JSON schema has more than {MAX_SCHEMA_BYTES} bytes")
    if not isinstance(schema, dict | bool):
        raise UnfitError("a JSON schema is an object, or true or false")
    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
    except SchemaError as exc:
        raise UnfitError(f"invalid JSON schema at {exc.json_path}: {exc.message}") from exc
    except RecursionError as exc:
        raise UnfitError("the JSON schema is nested too deeply") from exc
    checks = kind(schema, registry=Registry())  # an empty registry: what is not in it is not fetched either
    why = "its parts contradict each other"
    for walk in range(MAX_WALKS):
        try:
            value = SchemaWalk(schema, Random(f"{seed}/{walk}")).value(schema, 0)  # noqa: S311 - nothing secret
            if checks.is_valid(value):
                return value
        except VisitsSpentError:
            raise
        except (UnfitError, RecursionError) as exc:
            why = str(exc)
        except (Unresolvable, re.error) as exc:
            raise UnfitError(f"invalid JSON schema: {exc}") from exc
    raise UnfitError(f"no value was found that fits the JSON schema: {why}")
