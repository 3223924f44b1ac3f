"""What a user says of a table of ground photos that is to be made."""

from pydantic import Field

from pipeline.settings_checks import Address
from pipeline.settings_sections import ClusterSettings, Strict


class PhotoSettings(Strict):
    """Photos in the folder or s3:// prefix `photos`, embedded by an image tower into `out`.

    `table` says which photo belongs to which point; without, their names do, as LUCAS's. `revision`
    pins the tower's weights. `attribution` is the notice that the photos' terms ask for.
    `part_size` photos are embedded at once by a worker, and kept together.
    """

    photos: Address
    out: Address
    tower: str
    revision: str | None = None
    table: str | None = None
    attribution: str = ""
    part_size: int = Field(256, ge=1)
    cluster: ClusterSettings = ClusterSettings()
