"""Reads YAML text as plain data with the line of each value, and reports what YAML allows but our files forbid.

These are duplicate keys, keys that are not text, tags, aliases inside themselves and numbers that are not finite.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

Location = tuple[str | int, ...]
"""Keys and list positions from the top: `("models", 0, "name")`."""

MAX_NODES: Final = 100_000
"""Values above which a file is refused, aliases expanded: a short file of nested aliases could fill the memory."""

_NO_LINE: Final = 1 << 30


class _JsonShapedLoader(yaml.SafeLoader):
    """Reads dates as the text they are written as."""


_JsonShapedLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class YamlTree:
    """The data of one document.

    Attributes:
        data: JSON-shaped data.
        lines: line number (from 1) of each key or item, by location.
        problems: what YAML allows but the file must not have, each with its location.
    """

    data: Any
    lines: Mapping[Location, int]
    problems: Sequence[tuple[Location, str]]

    def line_of(self, where: Location) -> int:
        """Return the line of `where`, or of the nearest value around it; a very high number if no line is known."""
        for end in range(len(where), 0, -1):
            if where[:end] in self.lines:
                return self.lines[where[:end]]
        return _NO_LINE

    def line_note(self, where: Location) -> str:
        """Return ` (line 12)` for the line of `where`; "" if no line is known."""
        line = self.line_of(where)
        return "" if line == _NO_LINE else f" (line {line})"


class _Reader:
    """Turns composed nodes into data, noting lines and problems on the way."""

    def __init__(self, loader: _JsonShapedLoader) -> None:
        self._loader = loader
        self.lines: dict[Location, int] = {}
        self.problems: list[tuple[Location, str]] = []
        self._nodes = 0
        self._flattened: set[int] = set()

    def value(self, node: yaml.Node, where: Location, above: frozenset[int]) -> Any:  # noqa: ANN401 - any JSON shape
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise yaml.YAMLError(f"more than {MAX_NODES} values")
        if id(node) in above:
            self.problems.append((where, "an alias inside the very thing it names"))
            return None
        inside = above | {id(node)}
        self.lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
            return self._mapping(node, where, inside)
        if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
            return [self.value(item, (*where, position), inside) for position, item in enumerate(node.value)]
        return self._scalar(node, where)

    def _mapping(self, node: yaml.MappingNode, where: Location, inside: frozenset[int]) -> dict[str, Any]:
        if id(node) not in self._flattened:
            self._flattened.add(id(node))
            self._note_duplicates([key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"], where)
            self._loader.flatten_mapping(node)  # `<<: *defaults`: merged keys come first, so the mapping's own override
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.tag.endswith(":str"):
                line = key_node.start_mark.line + 1
                self.problems.append((where, f"keys are text; put the key of line {line} in quotes"))
                continue
            at = (*where, key_node.value)
            self.lines[at] = key_node.start_mark.line + 1
            data[key_node.value] = self.value(value_node, at, inside)
        return data

    def _note_duplicates(self, keys: Sequence[yaml.Node], where: Location) -> None:
        first_line: dict[str, int] = {}
        for key in keys:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first_line:
                message = f"the key stands twice, in lines {first_line[key.value]} and {line}; keep one"
                self.problems.append(((*where, key.value), message))
            first_line.setdefault(key.value, line)

    def _scalar(self, node: yaml.Node, where: Location) -> Any:  # noqa: ANN401 - any JSON scalar
        if not isinstance(node, yaml.ScalarNode) or node.tag.rpartition(":")[2] not in {
            "str",
            "int",
            "float",
            "bool",
            "null",
        }:
            self.problems.append((where, f"the YAML tag {node.tag} has no place here"))
            return None
        try:
            value = self._loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            self.problems.append((where, f"not a {node.tag.rpartition(':')[2]}: {node.value!r}"))
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.problems.append((where, f"must be a finite number; got {node.value}"))
            return None
        return value


def read_tree(text: str) -> YamlTree:
    """Return the single document in `text`; an empty text gives the data None.

    Raises:
        yaml.YAMLError: it is not YAML, has several documents, or has more than `MAX_NODES` values.
    """
    loader = _JsonShapedLoader(text)
    try:
        node = loader.get_single_node()
        reader = _Reader(loader)
        data = None if node is None else reader.value(node, (), frozenset())
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    finally:
        loader.dispose()
    return YamlTree(data=data, lines=reader.lines, problems=tuple(reader.problems))
