"""The pages for users and developers name files and modules that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("*/*.md"))]
# Files that the page on architecture adds as examples.
EXAMPLES = {
    "pipeline/clusters/subprocess.py",
    "models/encoder/linear.py",
    "models/encoder/linear_fast.py",
}


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_files_exist(page: Path) -> None:
    named = re.findall(
        r"\b(?:models|pipeline|flows|tests|infra|docs)/[\w./-]+\.(?:py|toml|md|yaml|sbatch)\b",
        page.read_text(encoding="utf-8"),
    )
    assert [name for name in named if not (ROOT / name).is_file()] == [
        name for name in named if name in EXAMPLES
    ]


def test_commands_are_written_one_way(page: Path) -> None:
    if page.name != "CHANGELOG.md":  # which tells how it was
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"^.*(?:bin/timesen \w|-m flows).*$", text, re.MULTILINE) == []


def test_modules_that_are_run_or_imported_exist(page: Path) -> None:
    modules = re.findall(
        r"(?:-m|from|import) ((?:models|pipeline|flows|tests)(?:\.\w+)+)",
        page.read_text(encoding="utf-8"),
    )
    places = [ROOT.joinpath(*module.split(".")) for module in modules]
    assert [
        str(place) for place in places if not (place.is_dir() or place.with_suffix(".py").is_file())
    ] == []
