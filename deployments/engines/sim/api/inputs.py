"""Inputs that are texts or token ids, one or several, as prompts."""

from typing import Any

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.sim.api.errors import bad_request, invalid_body
from deployments.engines.sim.generation.prompt import SimPrompt, units_of_ids


def prompts_of(given: str | list[Any], name: str, spec: SimSpec, salt: str = "") -> list[SimPrompt]:
    """Return a request's inputs as prompts.

    Args:
        given: the field as it came: a text, token ids, or a list of either.
        name: the field's name.
        spec: the simulation's spec.
        salt: the request's `cache_salt`.

    Raises:
        RequestError: there is no input, one is neither text nor token ids, or an id is outside the vocabulary.
    """
    prompts = []
    for one in _texts_or_ids(given, name):
        from_ids = not isinstance(one, str)
        units = one if isinstance(one, str) else _units_of(one)
        per_token = 1.0 if from_ids else spec.chars_per_token
        prompts.append(SimPrompt(units, per_token, from_ids=from_ids, answer_from=len(units), salt=salt))
    return prompts


def _texts_or_ids(given: str | list[Any], name: str) -> list[str | list[int]]:
    if isinstance(given, str):
        return [given]
    if not given:
        raise bad_request("You must pass at least one prompt")
    if _are_ids(given):
        return [given]
    if all(isinstance(one, str) for one in given) or all(isinstance(one, list) and _are_ids(one) for one in given):
        return given
    raise invalid_body(f"{name} must be a string, token ids, or a list of either", f"{name}.0")


def _units_of(ids: list[int]) -> str:
    try:
        return units_of_ids(ids)
    except ValueError as exc:
        raise bad_request(str(exc)) from exc


def _are_ids(values: list[Any]) -> bool:
    return all(type(value) is int for value in values)
