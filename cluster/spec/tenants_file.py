"""The tenants file: the tenants of a gateway that runs without a cluster file."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cluster.spec.checked_yaml import FileKind
from cluster.spec.gateway_spec import TenantSpec, check_tenants_differ


class TenantsFile(BaseModel):
    """A whole tenants file.

    Attributes:
        tenants: customers who may use the gateway, at least one; a gateway without this file is open to everybody.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenants: Annotated[tuple[TenantSpec, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _tenants_differ(self) -> Self:
        check_tenants_differ(self.tenants)
        return self


TENANTS_FILE: Final = FileKind(name="tenants file", root=TenantsFile, needs="it needs a list of tenants")
