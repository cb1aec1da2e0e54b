"""LoRA adapters of a model."""

from pydantic import field_validator

from cluster.spec.model_parts.model_name import checked_name
from cluster.spec.parts.part import Part

DEFAULT_SLOTS = 4
"""Adapters loaded at once on each replica, where the file lists adapters and says no number. vLLM's own default, 1,
would load one anew whenever another is asked for."""


class AdapterSpec(Part):
    """One LoRA adapter: a model of its own to apps, which its base model's replicas serve.

    Attributes:
        name: name that apps put in `"model"`.
        source: a Hugging Face id or a folder, with `adapter_config.json`; the simulated engine takes anything.
    """

    name: str
    source: str

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        return checked_name(value)

    @field_validator("source")
    @classmethod
    def _has_a_source(cls, value: str) -> str:
        if not value:
            raise ValueError("missing: a Hugging Face id or a folder with adapter_config.json")
        return value
