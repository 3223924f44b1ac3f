"""Sen4Map's HDF5 files in both layouts, made here as theirs are."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from models.encoder.preprocessing import AUTHORS, BANDS
from pipeline.observations.clear_mask import strict_keep
from pipeline.point_series.sen4map import Sen4MapError, group_names, read_groups

KEEP = strict_keep(AUTHORS.scl_keep)
NAMES = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
POINT = "39483084"  # 3948 km east, 3084 km north: Brabant
LON, LAT = 4.7101, 50.7462
ATTRIBUTES: dict[str, Any] = {
    "lc1": "B11",
    "lu1": "U111",
    "nuts0": "BE",
    "bioregion_class_code": 4,
    "EUNIS_L2": "I1",
    "Coordinates": np.array([LON, LAT]),
}


def image_id(month: int, day: int, hour: int = 10, tile: str = "T31UFS") -> str:
    moment = f"2018{month:02d}{day:02d}T{hour:02d}5421"
    return f"{moment}_2018{month:02d}{day:02d}T{hour:02d}5420_{tile}"


def write_patch(
    file: h5py.File,
    point: str,
    dates: list[str],
    bands: np.ndarray,
    scl: np.ndarray,
    **attributes: Any,
) -> None:
    """A group of patches: `bands` (10, date, y, x), `scl` (date, y, x)."""
    group = file.create_group(f"Lucas_Point_{point}")
    for name, values in zip(NAMES, bands, strict=True):
        group[name] = values
    group["SCL"] = scl
    group.attrs["Image_ID"] = np.array(dates, dtype=h5py.string_dtype())
    for name, value in (ATTRIBUTES | attributes).items():
        group.attrs[name] = value


def write_crop(file: h5py.File, point: str, image: np.ndarray, **attributes: Any) -> None:
    group = file.create_group(f"Lucas_Point_{point}")
    group["image"] = image
    for name, value in (ATTRIBUTES | attributes).items():
        group.attrs[name] = value


def made(rng: np.random.Generator, dates: int) -> tuple[np.ndarray, np.ndarray]:
    bands = rng.integers(1, 9000, (10, dates, 64, 64)).astype(np.uint16)
    return bands, rng.integers(0, 12, (dates, 64, 64)).astype(np.uint8)


def plain(dates: list[str], bands: np.ndarray, scl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centre pixel's series and counts by the rules written out."""
    series, counts = np.zeros((12, 10)), np.zeros(12)
    for month in range(12):
        values: dict[str, np.ndarray] = {}
        for k in sorted(range(len(dates)), key=lambda k: dates[k][:15]):
            if int(dates[k][4:6]) == month + 1 and scl[k, 32, 32] in KEEP:
                values.setdefault(dates[k][:15], bands[:, k, 32, 32])
        counts[month] = len(values)
        if values:
            series[month] = np.rint(np.median(list(values.values()), axis=0))
    return series, counts


def test_a_patchs_centre_is_masked_and_composited(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    # Out of order; two granules of one overpass; months of one date, and of none.
    days = [(m, d) for m in (3, 1, 6, 6, 6, 7, 9, 12) for d in (3, 13, 23, 28)]
    dates = [image_id(m, d) for m, d in days] + [image_id(6, 3, tile="T31UES"), image_id(11, 8)]
    dates = list(dict.fromkeys(dates))
    bands, scl = made(rng, len(dates))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        write_patch(file, POINT, dates, bands, scl)
    names = group_names(tmp_path / "p.h5")
    assert names == [f"Lucas_Point_{POINT}"]
    rows, left_out = read_groups(tmp_path / "p.h5", names, KEEP)
    assert not left_out
    assert rows is not None
    series, counts = plain(dates, bands, scl)
    assert (series > 0).any()
    assert (series[1] == 0).all()
    np.testing.assert_array_equal(rows.series[0], series)
    np.testing.assert_array_equal(rows.clear[0], counts)
    assert rows.ids == [POINT]
    assert rows.year.tolist() == [2018]
    assert {name: of[0] for name, of in rows.labels.items()} == {
        "lc1": "B11", "lu1": "U111", "nuts0": "BE", "bioregion_class_code": "4", "EUNIS_L2": "I1",
    }  # fmt: skip
    assert rows.photo_keys == [f"BE_{POINT}"]
    np.testing.assert_allclose([rows.lon[0], rows.lat[0]], [LON, LAT])


def test_floats_and_bytes_are_read_as_well(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    dates = [image_id(month, 5) for month in range(1, 13)]
    bands, scl = made(rng, 12)
    scl[:] = 4
    floats = bands.astype(np.float32)
    floats[2, 3, 32, 32] = np.nan
    with h5py.File(tmp_path / "p.h5", "w") as file:
        write_patch(file, POINT, dates, floats, scl.astype(np.float32), lc1=np.bytes_("A22"))
        file[f"Lucas_Point_{POINT}"].attrs["Image_ID"] = np.array(dates, dtype="S")
    rows, _ = read_groups(tmp_path / "p.h5", group_names(tmp_path / "p.h5"), KEEP)
    assert rows is not None
    expected = bands[:, :, 32, 32].T.copy()
    expected[3, 2] = 0
    np.testing.assert_array_equal(rows.series[0], expected)
    assert rows.labels["lc1"] == ["A22"]


def test_a_crop_gives_its_months(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(2, 9000, (12, 10, 1, 1)).astype(np.float32)
    image[4] = 1.0  # what a masked month is in the authors' composites
    image[5, 0] = 300.5
    with h5py.File(tmp_path / "c.h5", "w") as file:
        write_crop(file, POINT, image)
        write_crop(file, "39503084", image + 0.2, EUNIS_L2="")
    rows, left_out = read_groups(tmp_path / "c.h5", group_names(tmp_path / "c.h5"), KEEP)
    assert rows is not None
    assert not left_out
    expected = np.rint(image[:, :, 0, 0])
    expected[4] = 0
    np.testing.assert_array_equal(rows.series[0], expected)
    assert rows.series.dtype == np.uint16
    assert rows.clear[0].tolist() == [1, 1, 1, 1, 0, *[1] * 7]
    assert rows.labels["EUNIS_L2"] == ["I1", None]


@pytest.mark.parametrize(
    "given",
    [np.array([LON, LAT]), np.array([LAT, LON]), None,
     np.array([[LON - 0.01, LAT - 0.01], [LON + 0.01, LAT + 0.01]])],
)  # fmt: skip
def test_coordinates_of_either_order_or_none(tmp_path: Path, given: np.ndarray | None) -> None:
    image = np.full((12, 10, 1, 1), 500, np.uint16)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        write_crop(file, POINT, image)
        attributes = file[f"Lucas_Point_{POINT}"].attrs
        del attributes["Coordinates"]
        if given is not None:
            attributes["Coordinates"] = given
    rows, _ = read_groups(tmp_path / "c.h5", group_names(tmp_path / "c.h5"), KEEP)
    assert rows is not None
    np.testing.assert_allclose([rows.lon[0], rows.lat[0]], [LON, LAT], atol=0.02)


def test_groups_that_give_nothing_are_left_out_and_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    dates = [image_id(month, 5) for month in range(1, 13)]
    bands, scl = made(rng, 12)
    image = np.full((12, 10, 1, 1), 500, np.float32)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        write_patch(file, "39483000", dates, bands, np.full_like(scl, 9))
        write_patch(file, "39483002", dates[:11], bands, scl)
        write_patch(file, "39483004", [*dates[:11], "no date"], bands, scl)
        write_patch(file, "39483006", dates, bands, scl)
        del file["Lucas_Point_39483006"]["B8A"]
        write_crop(file, "39483008", image * np.nan)
        write_crop(file, "39483010", image[:4])
        write_crop(file, "39483012", image, Coordinates=np.array([100.0, 3.0]))
        write_crop(file, "39483014", np.ones_like(image))
        write_crop(file, "39483016", image)
    rows, left_out = read_groups(tmp_path / "p.h5", group_names(tmp_path / "p.h5"), KEEP)
    assert rows is not None
    assert rows.ids == ["39483016"]
    for point, reason in (
        ("39483000", "no clear observation in the year"),
        ("39483002", "Image_ID names 11 dates, and SCL has 12"),
        ("39483004", "'no date' names no date"),
        ("39483006", "it lacks B8A"),
        ("39483008", "its series holds NaN"),
        ("39483010", "image is of shape (4, 10, 1, 1)"),
        ("39483012", "are not where its id lies"),
        ("39483014", "no clear observation in the year"),
    ):
        assert reason in left_out.pop(point)
    assert not left_out


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no numbers")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.ones(3)
    for name, problem in (
        ("none.h5", "there is no such file"),
        ("text.h5", "cannot be opened as HDF5"),
        ("other.h5", "no group Lucas_Point_<id>"),
    ):
        with pytest.raises(Sen4MapError, match=problem):
            group_names(tmp_path / name)


def test_only_centres_are_read(tmp_path: Path) -> None:
    """The memory that a group takes does not grow with the patch, nor that of a file with it."""
    import tracemalloc

    rng = np.random.default_rng(5)
    dates = [image_id(month, 1 + 5 * k) for month in range(1, 13) for k in range(4)]
    bands, scl = made(rng, len(dates))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        for k in range(4):
            write_patch(file, f"3948{3000 + 2 * k}", dates, bands, scl)
    names = group_names(tmp_path / "p.h5")
    read_groups(tmp_path / "p.h5", names[:1], KEEP)
    tracemalloc.start()
    read_groups(tmp_path / "p.h5", names, KEEP)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < bands[0].nbytes
    assert len(BANDS) == len(bands)
