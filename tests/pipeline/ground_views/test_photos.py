import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from models.towers.image_tower import ClipImageTower
from pipeline.errors import DatasetError
from pipeline.ground_views.photos import Photo, decoded, embed_photos, lucas_photos, table_photos
from pipeline.io.store import Store
from tests.tiny_clip import jpeg, photo, save_tiny_clip


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> ClipImageTower:
    return ClipImageTower(save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny"))


@pytest.fixture(params=["folder", "s3"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "photos"))
    return Store(f"{request.getfixturevalue('s3')}/{request.node.name}/photos")


def test_lucas_photos_are_found_wherever_they_lie(source: Store) -> None:
    for key in (
        "2018/FR/FR_38062414N.jpg",
        "2018/FR/FR_38062414S.JPG",
        "BE_1E.jpeg",
        "FR_38062414P.jpg",  # of the point itself
        "FR_38062414C.jpg",
        "readme.txt",
    ):
        source.write(key, b"x")
    photos, others = lucas_photos(source)
    assert photos == [
        Photo("BE_1", "E", "BE_1E.jpeg"),
        Photo("FR_38062414", "N", "2018/FR/FR_38062414N.jpg"),
        Photo("FR_38062414", "S", "2018/FR/FR_38062414S.JPG"),
    ]
    assert others == 2


def test_unreadable_photos_are_named(source: Store, tower: ClipImageTower) -> None:
    whole = jpeg(photo(1))
    contents = {
        "FR_1N.jpg": whole,
        "FR_1S.jpg": jpeg(photo(2, 31, 200)),
        "FR_2N.jpg": whole[: len(whole) // 2],
        "FR_2E.jpg": b"",
        "FR_2S.jpg": b"<html>404</html>",
        "FR_3W.jpg": _png(photo(3).convert("P")),  # a PNG of 256 colours, named as it is not
    }
    for key, content in contents.items():
        source.write(key, content)
    photos, _ = lucas_photos(source)
    photos.append(Photo("FR_4", "N", "FR_4N.jpg", "maize"))
    rows, unreadable = embed_photos(source, photos, tower)
    assert list(zip(rows["id"].to_pylist(), rows["view"].to_pylist(), strict=True)) == [
        ("FR_1", "N"), ("FR_1", "S"), ("FR_3", "W"),
    ]  # fmt: skip
    assert unreadable.pop("FR_2N.jpg").startswith("damaged: ")
    assert unreadable == {
        "FR_2E.jpg": "an empty file",
        "FR_2S.jpg": "not a photo",
        "FR_4N.jpg": "there is no such file",
    }
    images = [Image.open(io.BytesIO(contents[key])).convert("RGB") for key in _OF_ROWS]
    wanted = np.concatenate([tower.embed([image]) for image in images])
    found = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(3, -1)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert rows["key"].to_pylist() == [-1] * 3
    none, all_of_them = embed_photos(source, [Photo("x", "N", "x.jpg")], tower)
    assert (none.num_rows, list(all_of_them)) == (0, ["x.jpg"])
    assert none.schema == rows.schema


_OF_ROWS = ("FR_1N.jpg", "FR_1S.jpg", "FR_3W.jpg")


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_cameras_that_stood_on_their_side_are_turned_and_grey_is_colour() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the left: turn it right by 90°
    file = io.BytesIO()
    photo(5, 60, 40).save(file, "JPEG", exif=exif)
    upright = decoded(file.getvalue())
    assert isinstance(upright, Image.Image)
    assert upright.size == (40, 60)
    grey = decoded(jpeg(photo(6).convert("L")))
    assert isinstance(grey, Image.Image)
    assert grey.mode == "RGB"


def test_bombs_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decoded(jpeg(photo(1))) == "too large: it has more pixels than a photo"


def test_many_are_embedded_as_one_alone(tmp_path: Path, tower: ClipImageTower) -> None:
    source = Store(str(tmp_path))
    photos = [Photo(str(number), "N", f"{number}.jpg") for number in range(70)]
    for place, one in enumerate(photos):
        source.write(one.key, jpeg(photo(place)) if place % 9 else b"no")
    rows, unreadable = embed_photos(source, photos, tower)
    assert len(unreadable) == 8
    alone, _ = embed_photos(source, [photos[64]], tower)
    assert rows.filter(pa.compute.equal(rows["id"], "64"))["embedding"] == alone["embedding"]


def test_a_table_assigns_photos_to_points(tmp_path: Path) -> None:
    path = tmp_path / "photos.csv"
    path.write_text("photo,id,class\nb/2.jpg,007,maize\nb/1.jpg,007,\nb/2.jpg,8,maize\n")
    assert table_photos(path) == [
        Photo("007", "b/1.jpg", "b/1.jpg", None),
        Photo("007", "b/2.jpg", "b/2.jpg", "maize"),
        Photo("8", "b/2.jpg", "b/2.jpg", "maize"),
    ]
    frame = pa.table({"id": [7, 7], "photo": ["a.jpg", "b.jpg"], "view": ["near", "far"]})
    pa.parquet.write_table(frame, tmp_path / "photos.parquet")
    assert [photo.view for photo in table_photos(tmp_path / "photos.parquet")] == ["far", "near"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("photo,point\na.jpg,1\n", r"no column id; its columns are photo, point"),
        ("photo,id\na.jpg,\n", "row 1 names no point"),
        ("photo,id\n,1\n", "row 1 names no photo"),
        ("photo,id,view\na.jpg,1,N\nb.jpg,1,N\n", r"N of 1: a\.jpg and b\.jpg"),
    ],
)
def test_incomplete_tables_of_photos_are_refused(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "photos.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=problem):
        table_photos(path)


def test_folders_without_photos_and_with_twins_are_refused(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.jpg").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"has a name as in LUCAS, and 1 have other.*--table"):
        lucas_photos(Store(str(tmp_path)))
    for folder in ("2018", "2022"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "FR_1N.jpg").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"N of FR_1: 2018/FR_1N\.jpg and 2022/FR_1N\.jpg"):
        lucas_photos(Store(str(tmp_path)))
