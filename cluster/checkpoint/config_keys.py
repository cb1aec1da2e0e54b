"""Reads the keys of a config file, with errors that name the key."""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.errors import ModelShapeError


class ConfigKeys:
    """The keys of one object of a config file.

    Args:
        config: the object.
        source: its place, for errors.
        defaults: values of keys that the object may leave out.
    """

    def __init__(self, config: Mapping[str, Any], source: str, defaults: Mapping[str, Any] | None = None) -> None:
        self._config = {**(defaults or {}), **{key: value for key, value in config.items() if value is not None}}
        self.source = source

    def refuse(self, message: str) -> ModelShapeError:
        """Return the error that says where and what is wrong."""
        return ModelShapeError(f"{self.source}: {message}")

    def has(self, name: str) -> bool:
        """Return whether `name` is present and not null."""
        return name in self._config

    def count(self, *names: str, default: int | None = None) -> int:
        """Return the positive whole number under the first of `names` that is present, else `default`."""
        for name in names:
            value = self._config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise self.refuse(f"{name} must be a whole number above 0; got {value!r}")
            return value
        if default is None:
            raise self.refuse(f"{' or '.join(names)} is missing")
        return default

    def number(self, name: str, default: int) -> int:
        """Return the whole number, 0 allowed, under `name`; `default` if it is missing."""
        value = self._config.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.refuse(f"{name} must be a whole number; got {value!r}")
        return value

    def group_size(self, *names: str) -> int:
        """Return the whole number above 0, or -1, under the first of `names` that is present."""
        for name in names:
            value = self._config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or (value < 1 and value != -1):
                raise self.refuse(f"{name} must be a whole number above 0, or -1 for one group; got {value!r}")
            return value
        raise self.refuse(f"{' or '.join(names)} is missing")

    def text(self, *names: str) -> str:
        """Return the text under the first of `names` that is present, in lower case; "" if none is."""
        for name in names:
            value = self._config.get(name)
            if value is not None:
                if not isinstance(value, str):
                    raise self.refuse(f"{name} must be text; got {value!r}")
                return value.lower()
        return ""

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return whether `name` is true; `default` if it is missing."""
        return bool(self._config.get(name, default))

    def items(self, name: str) -> Sequence[Any] | None:
        """Return the list under `name`; None if it is missing."""
        value = self._config.get(name)
        if value is not None and not isinstance(value, list):
            raise self.refuse(f"{name} must be a list; got {value!r}")
        return value

    def names(self, *keys: str) -> tuple[str, ...]:
        """Return the texts of the lists under all of `keys` that are present."""
        found: list[str] = []
        for key in keys:
            for entry in self.items(key) or ():
                if not isinstance(entry, str):
                    raise self.refuse(f"{key} must be a list of names; got {entry!r} in it")
                found.append(entry)
        return tuple(found)

    def part(self, name: str) -> Mapping[str, Any]:
        """Return the object under `name`; an empty one if it is missing."""
        value = self._config.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refuse(f"{name} must be an object; got {value!r}")
        return value

    def inside(self, name: str, defaults: Mapping[str, Any] | None = None) -> "ConfigKeys":
        """Return the keys of the object under `name`, whose errors name it."""
        return ConfigKeys(self.part(name), f"{self.source}: {name}", defaults)
