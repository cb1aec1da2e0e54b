"""Turns YAML text into a frozen pydantic model and reports every problem at once, with its path and line.

YAML is read as JSON-shaped data (mappings with text keys, lists, text, numbers, booleans, null) and then validated
strictly, so `port: "80"` and `port: yes` are problems rather than silent conversions. Each kind of file that operators
write (cluster, tenants, plan, topology, gang file) is a `FileKind`.
"""

import difflib
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cluster.errors import SpecError, SpecProblem
from cluster.spec.yaml_tree import Location, YamlTree, read_tree

MAX_TEXT_CHARS: Final = 1024 * 1024
"""Characters above which a file is refused: the largest sensible one has some tens of thousands."""

_EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping (key: value lines)",
    "model_type": "must be a mapping (key: value lines)",
    "model_attributes_type": "must be a mapping (key: value lines)",
    "tuple_type": "must be a list (lines starting with -)",
    "list_type": "must be a list (lines starting with -)",
}
"""What the value must be, in an operator's words, by pydantic's error type."""

Root = TypeVar("Root", bound=BaseModel)
Rule = Callable[[Mapping[str, Any]], Iterable[tuple[Location, str]]]
"""Yields (location, problem) for the raw data of a whole file."""


def no_rules(_data: Mapping[str, Any]) -> Iterable[tuple[Location, str]]:
    """Find no problem."""
    return ()


@dataclass(frozen=True, slots=True)
class FileKind(Generic[Root]):
    """A kind of file that operators write.

    Attributes:
        name: what errors call it, such as `cluster file`.
        root: the class its content becomes.
        needs: what to say of an empty file, such as `it needs at least a list of models`.
        rules: yields (location, problem) for rules over several keys. It gets the raw data, so it finds these problems
            even where others keep pydantic from checking them.
        ruled: places whose rules over several keys `rules` finds too, each problem at its exact key.
        shorthands: what a key accepts, by key, where it accepts more than a mapping: `{"replicas": "a number, or …"}`.
    """

    name: str
    root: type[Root]
    needs: str
    rules: Rule = no_rules
    ruled: frozenset[Location] = frozenset()
    shorthands: Mapping[str, str] = field(default_factory=dict)

    def load(self, text: str, source: str, more: Rule = no_rules) -> Root:
        """Return the content of `text`, checked.

        Args:
            text: the YAML document.
            source: name of the file, for errors.
            more: further rules, of a kind like `rules`, whose problems are reported together with all others.

        Raises:
            SpecError: with every mistake, in the file's order.
        """
        if len(text) > MAX_TEXT_CHARS:
            raise SpecError(source, [SpecProblem("", f"longer than {MAX_TEXT_CHARS} characters; is it a {self.name}?")])
        try:
            tree = read_tree(text)
        except yaml.YAMLError as error:
            raise SpecError(source, [SpecProblem("", _syntax_message(error))]) from error
        return self._checked(tree, source, more)

    def from_data(self, data: object, source: str, more: Rule = no_rules) -> Root:
        """Return the content of `data`, checked: a file that is parsed already, as mappings and lists.

        Args:
            data: the parsed file.
            source: name of the file, for errors.
            more: further rules, as for `load`.

        Raises:
            SpecError: with every mistake, without line numbers.
        """
        try:
            text = json.dumps(data, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise SpecError(source, [SpecProblem("", f"not plain data: {error}")]) from error
        return self._checked(YamlTree(data=json.loads(text), lines={}, problems=()), source, more)

    def _checked(self, tree: YamlTree, source: str, more: Rule) -> Root:
        found = dict(tree.problems)
        if tree.data is None:
            raise SpecError(source, [SpecProblem("", f"the file is empty; {self.needs}")])
        if not isinstance(tree.data, dict):
            keys = ", ".join(self.root.model_fields)
            message = f"must be a mapping with the keys {keys}; got a {type(tree.data).__name__}"
            raise SpecError(source, [SpecProblem("", message)])
        found = dict(self.rules(tree.data)) | found
        covered = {where[: len(where) - 1] for where in found}
        covered |= {place for place in self.ruled if any(where[: len(place)] == place for where in found)}
        found = dict(more(tree.data)) | found
        spec: Root | None = None
        try:
            spec = self.root.model_validate_json(json.dumps(tree.data), strict=True)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                where = _location_in(tree.data, detail["loc"])
                if detail["type"] == "value_error" and where in covered:
                    continue  # the same rule, already reported at the exact key
                if detail["type"] == "too_short" and detail["input"]:
                    continue  # there are items; each one's own problem is reported
                if detail["type"].startswith("union_tag_"):
                    where = (*where, detail["ctx"]["discriminator"].strip("'"))
                found.setdefault(where, self._message(detail, where, tree.data))
        if found or spec is None:
            in_order = sorted(found, key=tree.line_of)
            problems = [SpecProblem(path(where), found[where] + tree.line_note(where)) for where in in_order]
            raise SpecError(source, problems)
        return spec

    def _message(self, detail: Mapping[str, Any], where: Location, data: object) -> str:
        kind, context = detail["type"], detail.get("ctx", {})
        shorthand = self.shorthands.get(str(where[-1])) if where else None
        match kind:
            case "extra_forbidden":
                return self._unknown_key(where, data)
            case "value_error":
                return str(detail["msg"]).removeprefix("Value error, ")
            case "missing":
                return "missing"
            case "union_tag_not_found" | "union_tag_invalid":
                wanted = f"one of {', '.join(map(repr, self._tags_at(where)))}"
                return f"must be {wanted}; got {_shown(context['tag'])}" if "tag" in context else f"missing: {wanted}"
            case "too_short":
                return "needs at least one"
            case "literal_error":
                wanted = f"must be one of {context['expected']}"
            case "string_pattern_mismatch":
                wanted = f"must match {context['pattern']}"
            case "model_type" if shorthand:
                wanted = f"must be {shorthand}"
            case _:
                wanted = _EXPECTED.get(kind, str(detail["msg"]).replace("Input should be", "must be"))
        hint = " (write it in quotes)" if kind == "string_type" and isinstance(detail["input"], (int, float)) else ""
        return f"{wanted}; got {_shown(detail['input'])}{hint}"

    def _unknown_key(self, where: Location, data: object) -> str:
        part = next(iter(self._parts_at(where[:-1], data)), None)
        known = list(part.model_fields) if part else []
        close = difflib.get_close_matches(str(where[-1]), known, n=1, cutoff=0.6)
        if close:
            return f"unknown key; did you mean {close[0]!r}?"
        return f"unknown key; known here: {', '.join(known)}"

    def _tags_at(self, where: Location) -> list[str]:
        return [tag for part in self._parts_at(where[:-1], None) for tag in _literals(part, str(where[-1]))]

    def _parts_at(self, where: Sequence[str | int], data: object) -> list[type[BaseModel]]:
        """Return the classes whose keys may stand at `where`, narrowed to one where the values in `data` tell which."""
        parts: list[type[BaseModel]] = [self.root]
        for step in where:
            data = _inside(data, step)
            if isinstance(step, str):
                known = next((part.model_fields[step] for part in parts if step in part.model_fields), None)
                parts = list(_parts_in(known.annotation)) if known else []
            if len(parts) > 1 and isinstance(data, dict):
                parts = [part for part in parts if _accepts_literals(part, data)][:1]
        return parts


def path(where: Location) -> str:
    """Return a location in the form `models[0].replicas.min`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _parts_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and typing.get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts_in(argument)


def _literals(part: type[BaseModel], key: str) -> tuple[str, ...]:
    field = part.model_fields.get(key)
    is_literal = field is not None and typing.get_origin(field.annotation) is typing.Literal
    return typing.get_args(field.annotation) if field is not None and is_literal else ()


def _accepts_literals(part: type[BaseModel], data: Mapping[str, Any]) -> bool:
    return all(not _literals(part, key) or data.get(key) in _literals(part, key) for key in part.model_fields)


def _location_in(data: object, loc: Sequence[str | int]) -> Location:
    """Return `loc` without the steps that pydantic adds for its own validators and that are no keys of the file."""
    where: list[str | int] = []
    for position, step in enumerate(loc):
        last = position == len(loc) - 1
        inside = (isinstance(data, dict) and (step in data or last)) or (
            isinstance(data, list) and isinstance(step, int) and step < len(data)
        )
        if inside:
            where.append(step)
            data = _inside(data, step)
    return tuple(where)


def _inside(data: object, step: str | int) -> object:
    if isinstance(data, dict):
        return data.get(step)
    return data[step] if isinstance(data, list) and isinstance(step, int) and step < len(data) else None


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    limit = 60
    return text if len(text) <= limit else text[:limit] + "…"


def _syntax_message(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"not YAML: {error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return f"not YAML: {str(error).splitlines()[0]}"
