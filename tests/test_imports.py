"""Imports go one way: flows → pipeline → models, and by the layers of docs/architecture.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYER = {"models": 0, "pipeline": 1, "flows": 2}
# Libraries that a package must not import.
FOREIGN = {"models": {"dask", "distributed", "prefect", "rasterio"}, "pipeline": {"prefect"}}


def _imported(path: Path) -> set[str]:
    """The dotted names that a module imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add(f"<relative import in {path.name}>")
    return names


def _modules(package: str) -> dict[str, Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    return {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in files}


@pytest.mark.parametrize("package", LAYER)
def test_imports_go_down_the_layers(package: str) -> None:
    for module, path in _modules(package).items():
        for name in _imported(path):
            top = name.split(".")[0]
            assert not name.startswith("<"), f"{module}: {name}"
            assert LAYER.get(top, -1) <= LAYER[package], f"{module} imports {name}, a layer above"
            assert top not in FOREIGN.get(package, set()), f"{package} knows no {top}: {module}"
            assert top not in {"torchvision", "tests"}, f"{module} imports {name}"


@pytest.mark.parametrize("package", LAYER)
def test_no_cycles_within_a_package(package: str) -> None:
    modules = _modules(package)
    graph = {
        module: {name for name in _imported(path) if name in modules and name != module}
        for module, path in modules.items()
    }
    done: set[str] = set()
    while ready := {m for m, needs in graph.items() if m not in done and needs <= done}:
        done |= ready
    assert done == set(graph), f"these import one another: {sorted(set(graph) - done)}"


def _sub_package(module: str) -> str:
    """`pipeline.grid` of `pipeline.grid.cells`; a module at a package's root is its own."""
    return ".".join(module.split(".")[:2])


def _layers() -> dict[str, int]:
    """Layer by sub-package, from the table of docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.M)
    return {name: int(layer) for layer, names in rows for name in re.findall(r"`([\w.]+)`", names)}


def test_the_architecture_page_names_every_sub_package() -> None:
    modules = {name for package in LAYER for name in _modules(package) if "__init__" not in name}
    assert {_sub_package(module) for module in modules} == set(_layers())


def test_sub_packages_import_only_from_lower_layers() -> None:
    layers = _layers()
    modules = {name: path for package in LAYER for name, path in _modules(package).items()}
    upward = [
        f"{module} imports {name}"
        for module, path in modules.items()
        if "__init__" not in module
        for name in sorted(_imported(path) & set(modules))
        if _sub_package(name) != _sub_package(module)
        and layers[_sub_package(name)] >= layers[_sub_package(module)]
    ]
    assert upward == []
