"""The settings of a pretraining, from a recipe's file."""

from pathlib import Path

from flows.settings.pretrain import PretrainSettings
from pipeline.settings.load import load_settings


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('\ufefflicence = "CC-BY-4.0"\n', encoding="utf-8")
    settings = load_settings(PretrainSettings, {"dataset": "set", "out": "made"}, file)
    assert settings.licence == "CC-BY-4.0"
    assert settings.out == str(Path.cwd() / "made")
