"""What every table of a spec has in common."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A TOML table: unknown keys are errors, types are exact."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
