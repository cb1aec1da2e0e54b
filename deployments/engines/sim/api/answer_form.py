"""The form that a request gives its answers: `response_format` and vLLM's `structured_outputs`."""

from typing import Any, Literal

import msgspec

from deployments.engines.sim.api.decoding import convert, decode
from deployments.engines.sim.api.errors import bad_request, bad_value
from deployments.engines.sim.guided.structured_output import ANY_OBJECT, AnswerForm, Choice, JsonSchema, Regex


class NamedSchema(msgspec.Struct):
    """`response_format.json_schema`."""

    name: str
    schema: Any = None


class ResponseFormat(msgspec.Struct):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: NamedSchema | None = None


class StructuredOutputs(msgspec.Struct):
    """`structured_outputs`."""

    json: Any = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: Any = None


def form_of(response_format: Any, structured_outputs: Any) -> AnswerForm | None:  # noqa: ANN401 - any JSON
    """Return the form of a request's answers; None: it gives none.

    Raises:
        RequestError: a field is wrong, several forms are given, or one is not simulated.
    """
    if response_format is not None:
        found = _of_response_format(convert(response_format, ResponseFormat, "response_format"))
        if found is not None:
            return found
    if structured_outputs is not None:
        return _of_structured_outputs(convert(structured_outputs, StructuredOutputs, "structured_outputs"))
    return None


def _of_response_format(asked: ResponseFormat) -> AnswerForm | None:
    match asked.type:
        case "text":
            return None
        case "json_object":
            return JsonSchema(ANY_OBJECT)
        case "json_schema":
            if asked.json_schema is None:
                message = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
                raise bad_value(message, "response_format")
            return JsonSchema(ANY_OBJECT if asked.json_schema.schema is None else asked.json_schema.schema)
        case _:
            raise bad_value("The simulated engine has no structural tags.", "response_format")


def _of_structured_outputs(asked: StructuredOutputs) -> AnswerForm:
    forms: list[AnswerForm] = []
    if asked.json is not None:
        as_text = isinstance(asked.json, str)
        forms.append(JsonSchema(decode(asked.json.encode(), object, "structured_outputs") if as_text else asked.json))
    if asked.regex is not None:
        forms.append(Regex(asked.regex))
    if asked.choice is not None:
        forms.append(Choice(asked.choice))
    if asked.json_object:
        forms.append(JsonSchema(ANY_OBJECT))
    if asked.grammar is not None or asked.structural_tag is not None:
        raise bad_request("The simulated engine has no grammars and no structural tags.")
    if len(forms) > 1:
        raise bad_request(
            "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice')."
        )
    if not forms:
        raise bad_request("You must use one kind of structured outputs constraint but none are specified.")
    return forms[0]
