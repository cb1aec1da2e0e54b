"""A model as an engine will look for it in a machine's cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CachedSource:
    """A model, or draft model, as an engine will look for it.

    Attributes:
        source: a Hugging Face id or a built-in name.
        revision: branch, tag or commit; "": `main`.
        folder: the cache, vLLM's `download_dir`; "": the machine's own.
        env: environment variables of the model that are not the machine's, such as `HF_ENDPOINT`.
    """

    source: str
    revision: str = ""
    folder: str = ""
    env: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """`SOURCE@REVISION`, or the source where there is none."""
        return f"{self.source}@{self.revision}" if self.revision else self.source


def named_source(text: str) -> CachedSource:
    """Return the source that `SOURCE` or `SOURCE@REVISION` names."""
    source, _, revision = text.partition("@")
    return CachedSource(source, revision)


def from_data(data: Mapping[str, Any]) -> CachedSource:
    """Return a source from its fields, as JSON has them."""
    return CachedSource(
        data["source"], data["revision"], data["folder"], tuple((key, value) for key, value in data["env"])
    )
