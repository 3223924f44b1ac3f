"""What a user says of a table of ground photos that is to be made."""

from pydantic import Field, field_validator

from pipeline.address import holds_secret
from pipeline.settings_sections import ClusterSettings, Strict


class PhotoSettings(Strict):
    """Photos in the folder or s3:// prefix `photos`, embedded by an image tower into `out`.

    `table` says which photo belongs to which point; without, their names do, as LUCAS's. `revision`
    pins the tower's weights. `attribution` is the notice that the photos' terms ask for.
    `part_size` photos are embedded at once by a worker, and kept together.
    """

    photos: str = Field(min_length=1)
    out: str = Field(min_length=1)
    tower: str
    revision: str | None = None
    table: str | None = None
    attribution: str = ""
    part_size: int = Field(256, ge=1)
    cluster: ClusterSettings = ClusterSettings()

    @field_validator("photos", "out")
    @classmethod
    def _without_secret(cls, value: str) -> str:
        if holds_secret(value):
            raise ValueError(
                "a URL with a user, a password or a query may hold a secret, and settings are "
                "shown; write s3://bucket/prefix"
            )
        return value
