"""Whether and where gateways keep records of what tenants have used."""

from typing import Annotated

from pydantic import Field

from cluster.spec.parts.part import Part


class UsageSpec(Part):
    """The records from which usage is billed.

    Attributes:
        folder: folder on the gateways' machines for the records, an SQLite file a month and machine; made where it is
            missing. On storage that outlives the machine, nothing is lost with it. Empty: no records are kept.
        keep_months: calendar months that are kept beside the one that runs; older files are removed.
    """

    folder: str = ""
    keep_months: Annotated[int, Field(ge=1, le=1200)] = 24
