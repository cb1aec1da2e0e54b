"""What all parts of a spec file share: their base class and the types of common values."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """One part of a spec file: it cannot change once read, and a key that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
PriorityName = Literal["high", "normal", "low"]
