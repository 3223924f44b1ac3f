"""A sample of reference points as a GeoPackage: to be labelled in QGIS, then read again.

The layer `points` shows nothing of the map, unless it is asked to. What the evaluation needs of the
draw (`SampleRecord`: the map, the strata and their areas, each point's stratum) is in the metadata
of the file, which stays where points are edited.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.files.json_text import parse_json
from models.files.process_mark import temporary_prefix
from models.vocabulary.vocabulary import Vocabulary
from models.vocabulary.vocabulary_class import Name
from pipeline.errors import OutputError
from pipeline.evaluation.labelling_form import labelling_style
from pipeline.evaluation.map_labels import class_names
from pipeline.evaluation.reference_sample import ReferenceSample
from pipeline.io.store import Store, public_url
from pipeline.io.user_paths import file_and_layer, foreign_address
from pipeline.point_series.point_file import PointsError
from pipeline.product.manifest import RunManifest

LABEL_COLUMN = "label"
"""The column of the labels, empty at first."""
_LAYER, _CLASS, _RECORD = "points", "class", "timesen_sample"
_Count = Annotated[int, Field(strict=True, ge=0)]


class _StratumRecord(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    value: Annotated[int, Field(strict=True, ge=1, le=65535)]
    name: Name
    pixels: Annotated[int, Field(strict=True, ge=1)]
    hectares: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    points: _Count


class SampleRecord(BaseModel):
    """How a sample was drawn.

    Attributes:
        run: The run's folder, without secrets.
        fingerprint: The run.
        seed: Of the random draw.
        strata: The classes of the map that was sampled, with their pixels and areas then.
        stratum: The class value of each point, in the order of their ids 1, 2, ….
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    run: str
    fingerprint: str
    seed: _Count
    strata: tuple[_StratumRecord, ...] = Field(min_length=1)
    stratum: tuple[_Count, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "SampleRecord":
        values = [stratum.value for stratum in self.strata]
        if len(set(values)) < len(values) or not set(self.stratum) <= set(values):
            raise ValueError("its points are not of its strata")
        return self

    def point_values(self, ids: Sequence[str | None], file: str) -> np.ndarray:
        """The class value in which each point was drawn, int64 (n,), by the points' ids.

        Raises PointsError where ids are not those of the sample, or occur twice; points may be
        missing.
        """
        numbers = [int(each) if each is not None and each.isdecimal() else 0 for each in ids]
        strange = [k for k, number in enumerate(numbers) if not 1 <= number <= len(self.stratum)]
        if strange or len(set(numbers)) < len(numbers):
            problem = (
                f"{len(strange)} of its points have an id that was not drawn"
                if strange
                else "an id occurs twice"
            )
            raise PointsError(
                file,
                f"it is a sample of {len(self.stratum)} points, and {problem}",
                "Remove the points that were added; others belong into a file of their own",
            )
        return np.array([self.stratum[number - 1] for number in numbers], np.int64)


def sample_place(target: str) -> tuple[Store, str]:
    """The folder and the name of a new file of points.

    Raises OutputError where the name is not that of a GeoPackage, or a file is there: it may have
    labels.
    """
    remedy = "Name a new file, such as sample.gpkg"
    if problem := foreign_address(target):
        raise OutputError(public_url(target), problem, remedy)
    path = Path(Store(target).root)
    if path.suffix.lower() != ".gpkg":
        raise OutputError(target, "this is no name of a GeoPackage", remedy)
    if path.exists():
        raise OutputError(target, "it is there already, and may hold labels", "Name a new file")
    return Store(str(path.parent)), path.name


def write_sample(
    target: str,
    sample: ReferenceSample,
    run: RunManifest,
    vocabulary: Vocabulary,
    *,
    place: str,
    seed: int = 0,
    with_class: bool = False,
) -> None:
    """Write the points of a sample, without labels, and the form in which QGIS asks for them.

    Args:
        target: The new file, `sample.gpkg`.
        sample: The points.
        run: The run that was sampled.
        vocabulary: Its classes, which the form offers.
        place: The run's folder, as it may be shown.
        seed: Of the random draw.
        with_class: Whether a column shows the mapped class.

    Raises:
        OutputError: As of `sample_place`.
        OutputUnwritable: The folder takes no file.
    """
    store, name = sample_place(target)
    start, end = run.period
    count = len(sample.value)
    names = {stratum.value: stratum.name for stratum in sample.strata}
    columns: dict[str, Any] = {
        "id": np.arange(1, count + 1),
        LABEL_COLUMN: pd.array([None] * count, dtype="string"),
        "remark": pd.array([None] * count, dtype="string"),
        "lon": np.round(sample.lon, 7),
        "lat": np.round(sample.lat, 7),
        "year": np.full(count, start.year, np.int32),
        "first_day": pd.array([f"{start:%Y-%m-%d}"] * count, dtype="string"),
        "last_day": pd.array([f"{end:%Y-%m-%d}"] * count, dtype="string"),
    }
    if with_class:
        columns[_CLASS] = [names[value] for value in sample.value.tolist()]
    record = SampleRecord.model_validate(
        {
            "run": place,
            "fingerprint": run.fingerprint,
            "seed": seed,
            "strata": [vars(stratum) for stratum in sample.strata],
            "stratum": sample.value.tolist(),
        }
    )
    geometry = geopandas.points_from_xy(sample.lon, sample.lat, crs=4326)
    read_only = [column for column in columns if column not in (LABEL_COLUMN, "remark")]
    style = labelling_style(class_names(vocabulary), LABEL_COLUMN, read_only)
    frame = geopandas.GeoDataFrame(columns, geometry=geometry)
    with TemporaryDirectory(prefix=temporary_prefix("sample")) as folder:
        path = Path(folder) / "sample.gpkg"  # GDAL wants this ending
        pyogrio.write_dataframe(
            frame,
            path,
            layer=_LAYER,
            driver="GPKG",
            dataset_metadata={_RECORD: record.model_dump_json()},
            dataset_options={"VERSION": "1.2"},  # which earlier versions of QGIS know, too
        )
        pyogrio.write_dataframe(_styles(style), path, layer="layer_styles", driver="GPKG")
        if not store.create(name, path.read_bytes()):
            sample_place(target)  # which raises: somebody else wrote it meanwhile


def _styles(style: str) -> pd.DataFrame:
    """The table in which QGIS looks for the style of a layer."""
    return pd.DataFrame(
        {
            "f_table_catalog": [""],
            "f_table_schema": [""],
            "f_table_name": [_LAYER],
            "f_geometry_column": ["geom"],
            "styleName": ["labels"],
            "styleQML": [style],
            "styleSLD": [""],
            "useAsDefault": [True],
            "description": ["points to label"],
            "owner": [""],
            "ui": [""],
            "update_time": [pd.Timestamp.now("UTC")],
        }
    )


def read_sample_record(points: Path) -> SampleRecord | None:
    """How the points of a file were drawn; None where they are no sample of `write_sample`.

    Raises PointsError where the record is damaged.
    """
    file, layer = file_and_layer(points)
    if file.suffix.lower() != ".gpkg" or not file.is_file():
        return None
    try:
        found = pyogrio.read_info(file, layer=layer or _LAYER).get("dataset_metadata") or {}
    except Exception:  # of GDAL's many kinds; whoever reads the points says what is wrong
        return None
    if _RECORD not in found:
        return None
    try:
        return SampleRecord.model_validate(parse_json(found[_RECORD]))
    except (ValueError, ValidationError) as error:
        raise PointsError(
            str(points),
            f"what it says of how its points were drawn is damaged ({type(error).__name__})",
            "Take the file that timesen sample wrote, or save its points as another file, such as "
            "CSV",
        ) from None
