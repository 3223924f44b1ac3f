"""Inputs that once were read wrongly are read well, and so are some hundreds of new ones.

`make fuzz` reads 100,000 of each target.
"""

from collections.abc import Callable

import pytest

from tests.fuzz.run import Finding, draw_of, try_one
from tests.fuzz.target import Target, corpus_of
from tests.fuzz.targets import TARGETS, target_class

Open = Callable[[str], Target]
_CASES = [(target, case) for target in TARGETS for case, _ in corpus_of(target)]
_FEW = {"embeddings": 30, "tiffs": 100, "regions": 60, "points": 60, "items": 60, "runs": 60}
_OTHERS = 150  # inputs of the faster targets


@pytest.fixture(scope="module")
def open_target(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Opens a target, whose valid files are made when it is opened first."""
    targets: dict[str, Target] = {}

    def open_named(name: str) -> Target:
        if name not in targets:
            kind, folder = target_class(name), tmp_path_factory.mktemp(name)
            kind.make_seeds(folder)
            targets[name] = kind(folder, tmp_path_factory.mktemp("scratch"))
        return targets[name]

    return open_named


@pytest.mark.parametrize(("target", "case"), _CASES)
def test_inputs_of_the_corpus(open_target: Open, target: str, case: str) -> None:
    opened = open_target(target)
    found = try_one(opened, 0, opened.restored(dict(corpus_of(target))[case]))
    assert not isinstance(found, Finding), found.trace


@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs(open_target: Open, target: str) -> None:
    opened = open_target(target)
    accepted = 0
    for number in range(_FEW.get(target, _OTHERS)):
        found = try_one(opened, number, opened.make(draw_of(target, 1, number)))
        again = f"python -m tests.fuzz --target {target} --seed 1 --first {number} --count 1"
        assert not isinstance(found, Finding), f"{found.trace}\n{again}"
        accepted += found
    assert accepted  # else what follows after reading was not tried
