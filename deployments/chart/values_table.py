"""Makes the README's table of values from the `# --` comments of values.yaml."""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from cluster.errors import SpecError, SpecProblem

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][A-Za-z0-9_]*):")
_COMMENT = re.compile(r"^ *# ?(?P<text>.*)$")
START = "<!-- values: made by `make helm-docs` from values.yaml -->"
END = "<!-- end of values -->"


@dataclass(frozen=True, slots=True)
class Value:
    """One row of the table.

    Attributes:
        path: the key's path, with dots.
        default: its default, as shown.
        text: its description.
    """

    path: str
    default: str
    text: str


def documented_values(text: str) -> list[Value]:
    """Return every key of a values file that has a `# --` comment, which also covers the keys under it.

    Raises:
        SpecError: keys have no comment; lists all of them.
    """
    data = yaml.safe_load(text)
    values: list[Value] = []
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    covered: int | None = None  # the indent of the last documented key: deeper lines belong to it
    missing: list[SpecProblem] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _KEY.match(line)
        if match is None:
            comment = _comment_with(comment, line)
            continue
        indent = len(match["indent"])
        is_covered = covered is not None and indent > covered
        covered = covered if is_covered else None
        parents = [*((depth, key) for depth, key in parents if depth < indent), (indent, match["key"])]
        if is_covered and not comment:
            continue
        path = ".".join(key for _, key in parents)
        default = _at(data, path)
        if comment:
            values.append(Value(path, _shown(default), " ".join(comment)))
            covered = covered if is_covered else indent
        elif not isinstance(default, dict) or not default:
            missing.append(SpecProblem(path, f"no `# --` comment says what it is (line {number})"))
        comment = []
    if missing:
        raise SpecError("values.yaml", missing)
    return values


def values_table(text: str) -> str:
    """Return the Markdown table of a values file.

    Raises:
        SpecError: keys have no comment; lists all of them.
    """
    rows = [f"| `{value.path}` | {value.default} | {_cell(value.text)} |" for value in documented_values(text)]
    return "\n".join(["| value | default | what |", "|---|---|---|", *rows])


def with_table(readme: str, table: str) -> str:
    """Return `readme` with the table between its two marks.

    Raises:
        ValueError: `readme` lacks a mark.
    """
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the README has no lines {START!r} and {END!r} for the table")
    return f"{before}{START}\n\n{table}\n\n{END}{after}"


def _comment_with(comment: list[str], line: str) -> list[str]:
    match = _COMMENT.match(line)
    if match is None:
        return []
    text = match["text"].strip()
    if text.startswith("-- "):
        return [text.removeprefix("-- ")]
    return [*comment, text] if comment else []


def _at(data: Any, path: str) -> Any:  # noqa: ANN401 - YAML values
    for key in path.split("."):
        data = data[key]
    return data


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    limit = 60
    return f"`{text}`" if len(text) <= limit else "see values.yaml"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
