"""The option `--cors-origin`: which pages may use the gateway from a browser."""

from collections.abc import Sequence

from pydantic import ValidationError

from cluster.errors import SpecError, SpecProblem
from cluster.spec.gateway_spec import CorsSpec


def cors_of(origins: Sequence[str]) -> CorsSpec:
    """Return which pages may use the gateway, as `--cors-origin` names their origins.

    Raises:
        SpecError: one is not an origin.
    """
    try:
        return CorsSpec(origins=tuple(origins))
    except ValidationError as error:
        wrong = sorted({str(mistake["input"]) for mistake in error.errors()})
        right = "give scheme and host, such as https://app.example (and :PORT if any, but no path), or *"
        raise SpecError("--cors-origin", [SpecProblem(origin, right) for origin in wrong]) from error
