"""YAML as strict readers take it: a key that stands twice in a mapping is an error, as for Flux and kustomize."""

from collections.abc import Hashable
from typing import Any

import yaml


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader keeps the last of two equal keys without a word; this one refuses."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - PyYAML's signature
    ) -> dict[Hashable, Any]:
        """Build a mapping.

        Raises:
            yaml.constructor.ConstructorError: a key stands twice.
        """
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def strict_documents(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML stream that are not empty.

    Raises:
        yaml.YAMLError: it is no YAML, or a key stands twice.
    """
    return [document for document in yaml.load_all(text, _StrictLoader) if document]
