"""The viewer's server: what it answers, and what it refuses."""

import io
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from models.errors import UserError
from pipeline.errors import OutputError
from pipeline.layout import VOCABULARY_FILE
from pipeline.viewer.app import viewer_app
from pipeline.viewer.map_tiles import MapTile
from pipeline.viewer.page_files import page_files
from pipeline.viewer.protection import basemap_of, content_policy, own_names
from pipeline.viewer.viewed_run import ViewedRun, open_viewed_run
from tests.pipeline.made_run import begin

HERE = MapTile.at(6.0, 49.77, 14)
TILE = f"/api/runs/0/tiles/class/{HERE.z}/{HERE.x}/{HERE.y}"


def test_the_page_and_its_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "<script src=" in page.text
    assert "<script>" not in page.text
    assert "style=" not in page.text
    for name, (content, kind) in page_files().items():
        answer = client.get(f"/static/{name}")
        assert answer.content == content
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "MapLibre" in client.get("/static/maplibre-gl.js").text[:200]


def test_nothing_of_other_hosts_is_named_by_our_own_files() -> None:
    for name, (content, _) in page_files().items():
        if not name.startswith("maplibre"):
            text = content.decode().replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text, name
            assert "https://" not in text, name
            assert "innerHTML" not in text, name


def test_a_tile_is_a_picture_in_the_colours_of_the_legend(
    client: TestClient, made: ViewedRun
) -> None:
    answer = client.get(TILE)
    assert answer.headers["content-type"] == "image/png"
    seen = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))
    colours = {tuple(bytes.fromhex(entry.colour[1:])) for entry in made.vocabulary.legend}
    shown = {tuple(colour[:3]) for colour in seen.reshape(-1, 4).tolist() if colour[3]}
    assert shown == colours
    alone = client.get(TILE, params={"only": "2"}).content
    assert 0 < (np.asarray(Image.open(io.BytesIO(alone)).convert("RGBA"))[..., 3] > 0).mean() < 0.5
    faded = client.get(TILE, params={"fade": "true"}).content
    assert len(np.unique(np.asarray(Image.open(io.BytesIO(faded)))[..., 3])) > 20
    assert client.get(TILE.replace("class", "true-colour")).status_code == 200


def test_what_a_run_is_and_what_a_pixel_is(client: TestClient, made: ViewedRun) -> None:
    (told,) = client.get("/api/runs").json()["runs"]
    assert told["years"] == "2021"
    assert told["cells"] == len(made.cells)
    assert sum(entry["share"] for entry in told["legend"]) == pytest.approx(1)
    assert told["has"] == {
        "confidence": True, "true_colour": True, "embeddings": False, "series": True,
    }  # fmt: skip
    pixel = client.get("/api/runs/0/pixel", params={"lon": 6.01, "lat": 49.77}).json()
    assert pixel["name"] in {entry["name"] for entry in told["legend"]}
    assert client.get("/api/runs/0/pixel", params={"lon": 8, "lat": 49.77}).json() is None


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e%2fapp.py", "/..%5capp.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/%252e%252e%252fapp.py",
        "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/index.html%00.js",
        "/run.json", "/static/run.json", "/cells", "/openapi.json", "/docs",
        "/api/runs/0/tiles/..%2f..%2frun.json/14/1/1", "/api/runs/0/tiles/%2fetc%2fpasswd/14/1/1",
        "/api/runs/0/tiles/embeddings/14/1/1", "/api/runs/..%2f/pixel?lon=6&lat=49",
        "/api/runs/9/pixel?lon=6&lat=49", "/api/runs/-1/pixel?lon=6&lat=49",
        "/api/runs/0/questions/..%2f..%2frun.json/14/1/1", "/api/runs/0/tiles/class/99/0/0",
        "/api/runs/0/tiles/class/3/-1/0", "/api/runs/0/tiles/class/3/8/0",
        f"{TILE}?only=..%2frun.json", "/api/runs/0/pixel?lon=nan&lat=1", "/api/runs/0/pixel?lon=1",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_runs(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert 400 <= answer.status_code < 500, answer.text
    for secret in ("root:", "fingerprint", "def viewer_app"):
        assert secret not in answer.text


@pytest.mark.parametrize("name", ["url", "path", "file", "src", "run", "folder", "basemap"])
@pytest.mark.parametrize("value", ["/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/"])
def test_parameters_with_addresses_change_nothing(
    client: TestClient, name: str, value: str
) -> None:
    assert client.get(f"{TILE}?{name}={quote(value)}").content == client.get(TILE).content


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil", ""]
)
def test_other_names_than_this_machine_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/runs", headers={"host": host})
    assert answer.status_code == 403
    assert "legend" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_this_machine_are_served(client: TestClient, host: str) -> None:
    assert client.get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json", "origin": "http://evil.example"}, 403),
        ({"content-type": "application/json", "origin": "null"}, 403),
        ({"content-type": "text/plain"}, 403),  # as a form of another page sends it
        ({"content-type": "application/json", "origin": "http://127.0.0.1:8000"}, 400),
    ],
)
def test_questions_of_other_pages_are_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/api/runs/0/questions", content='{"words": "lake"}', headers=headers)
    assert answer.status_code == status
    if status == 400:
        assert "kept no embeddings" in answer.json()["error"]


def test_headers_allow_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/static/main.js", TILE, "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy == content_policy()
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_what_nobody_expected_is_one_safe_line(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise LookupError("cut \x1b[31m at https://u:secret@host/a.tif?sig=secret")

    monkeypatch.setattr("pipeline.viewer.app.pixel_facts", fails)
    answer = client.get("/api/runs/0/pixel", params={"lon": 6, "lat": 49.77})
    assert answer.status_code == 500
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "LookupError" in caplog.text
    for text in (caplog.text, answer.text):
        assert "secret" not in text
        assert "\x1b" not in text


def test_a_basemap_widens_the_policy_by_its_host_alone() -> None:
    basemap = basemap_of("https://tile.example.org:8443/{z}/{x}/{y}.png?key=abc")
    widened, plain = content_policy(basemap), content_policy()
    assert widened.replace(" https://tile.example.org:8443", "") == plain
    assert "script-src 'self';" in widened
    for wrong in (
        "tile.example.org/{z}/{x}/{y}", "https://a.example/{z}/{x}.png", "javascript:{z}{x}{y}",
        "https://a;script-src *//{z}/{x}/{y}", "https://*/{z}/{x}/{y}", "file:///{z}/{x}/{y}",
        "https://{z}.example/{x}/{y}", "https://u:secret@host/{z}/{x}/{y}",
    ):  # fmt: skip
        with pytest.raises(UserError, match="no address of tiles") as told:
            basemap_of(wrong)
        assert "secret" not in str(told.value)


def test_names_of_classes_are_passed_on_as_texts(made: ViewedRun, tmp_path: Path) -> None:
    folder = Path(made.store.root)
    (tmp_path / "cells").symlink_to(folder / "cells")
    (tmp_path / "run.json").write_bytes((folder / "run.json").read_bytes())
    name = '<img src=x onerror=alert(1)> "forest"'
    content = made.vocabulary.model_dump_json().replace("leafy forest", name.replace('"', '\\"'))
    (tmp_path / VOCABULARY_FILE).write_text(content)
    app = viewer_app([open_viewed_run(str(tmp_path))], own_names("127.0.0.1"))
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get("/api/runs")
    assert answer.headers["content-type"] == "application/json"
    assert name in {entry["name"] for entry in answer.json()["runs"][0]["legend"]}


def test_a_run_without_a_mapped_cell_is_told(made: ViewedRun, tmp_path: Path) -> None:
    store, _ = begin(str(tmp_path / "run"), "5.96,49.75,6.04,49.79")
    store.write(VOCABULARY_FILE, made.vocabulary.model_dump_json().encode())
    with pytest.raises(OutputError, match="none of its cells is mapped yet"):
        open_viewed_run(store.root)
    with pytest.raises(OutputError, match="no run here"):
        open_viewed_run(str(tmp_path))


def test_a_run_on_s3_is_shown_as_one_in_a_folder(
    made: ViewedRun, client: TestClient, s3: str
) -> None:
    import s3fs

    s3fs.S3FileSystem().put(made.store.root, f"{s3}/viewed", recursive=True)
    app = viewer_app([open_viewed_run(f"{s3}/viewed")], own_names("127.0.0.1"))
    with TestClient(app, base_url="http://localhost") as remote:
        far = MapTile.at(6.0, 49.77, 9)
        for path in (TILE, f"/api/runs/0/tiles/class/9/{far.x}/{far.y}"):
            assert remote.get(path).content == client.get(path).content
        place = {"lon": 6.01, "lat": 49.77}
        found = [one.get("/api/runs/0/pixel", params=place).json() for one in (remote, client)]
        assert found[0] == found[1]
