"""Pages of the site: the repository's Markdown files at their own paths, and the reference.

What a page links to is part of the site, too: a test, a recipe, a job's script, a folder's list.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
_SINGLE = ("README.md", "CHANGELOG.md", "infra/README.md")
_FOLDERS = ("docs", "tests/benchmarks/results")
_PACKAGES = ("models", "pipeline", "flows")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    """Put the repository's pages, what they link to, and the reference in place of `docs_dir`."""
    for file in [*files]:
        if file.abs_src_path and file.abs_src_path.startswith(config.docs_dir):
            files.remove(file)
    pages = {*_SINGLE, *(_path(page) for name in _FOLDERS for page in (ROOT / name).glob("*.md"))}
    linked = {place for page in pages for place in _linked(page)}
    for path in sorted(pages | {place for place in linked if (ROOT / place).is_file()}):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for folder in sorted(place for place in linked if (ROOT / place).is_dir()):
        files.append(File.generated(config, f"{folder}/index.md", content=_listing(folder)))
    packages = sorted(_sub_packages())
    lines = "".join(f"- [{package}]({package}.md)\n" for package in packages)
    files.append(File.generated(config, "reference/index.md", content=f"# Reference\n\n{lines}"))
    for package in packages:
        content = _reference(package)
        files.append(File.generated(config, f"reference/{package}.md", content=content))
    return files


def on_page_markdown(
    markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files
) -> str | None:
    """Let a link to a folder lead to its list."""

    def led(link: re.Match[str]) -> str:
        target = _target(page.file.src_uri, link[1])
        if not (ROOT / target).is_dir():
            return link[0]
        here = posixpath.dirname(page.file.src_uri) or "."
        return link[0].replace(link[1], posixpath.relpath(f"{target}/index.md", here))

    return _LINK.sub(led, markdown)


def _path(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _target(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _linked(page: str) -> Iterator[str]:
    """The files and folders of the repository that a page links to."""
    for link in _LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        if (ROOT / (place := _target(page, link))).exists():
            yield place


def _listing(folder: str) -> str:
    """A page that names the files of a folder."""
    names = sorted(file.name for file in (ROOT / folder).iterdir() if file.is_file())
    lines = (f"- [{n}]({n})\n" if n.endswith(".md") else f"- `{n}`\n" for n in names)
    return f"# {folder}\n\n{''.join(lines)}"


def _sub_packages() -> Iterator[str]:
    for package in _PACKAGES:
        for inside in (ROOT / package).iterdir():
            if (inside / "__init__.py").is_file():
                yield f"{package}.{inside.name}"


def _reference(package: str) -> str:
    """A page of the docstrings of a sub-package's modules."""
    folder = ROOT / package.replace(".", "/")
    modules = sorted(file.stem for file in folder.glob("*.py") if file.stem[0] != "_")
    return f"# {package}\n\n" + "".join(f"::: {package}.{module}\n\n" for module in modules)
