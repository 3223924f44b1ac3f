"""A public name means one thing: no two modules of the product define the same one."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Public names that several modules may define.
SHARED = {
    "T": "a type variable, which means nothing outside its module",
    "main": "the entry point of a module that is run",
}


def _defined(module: Path) -> Iterator[str]:
    """The names that a module's top level defines."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_no_public_name_is_defined_twice() -> None:
    modules = defaultdict(set)
    for package in ("models", "pipeline", "flows"):
        for module in sorted((ROOT / package).rglob("*.py")):
            for name in _defined(module):
                if not name.startswith("_"):
                    modules[name].add(str(module.relative_to(ROOT)))
    twice = {name: sorted(places) for name, places in modules.items() if len(places) > 1}
    assert {name: places for name, places in twice.items() if name not in SHARED} == {}
