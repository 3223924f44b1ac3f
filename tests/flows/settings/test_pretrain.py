"""The settings of a pretraining, from a recipe's file."""

from pathlib import Path

from flows.settings.pretrain import EncoderSizes, PretrainSettings
from models.encoder.perceptron import PerceptronArchitecture
from pipeline.settings.load import load_settings


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('\ufefflicence = "CC-BY-4.0"\n', encoding="utf-8")
    settings = load_settings(PretrainSettings, {"dataset": "set", "out": "made"}, file)
    assert settings.licence == "CC-BY-4.0"
    assert settings.out == str(Path.cwd() / "made")


def test_the_sizes_of_another_kind_of_encoder_reach_the_processes() -> None:
    """As JSON: without the paper's sizes, which that kind has not."""
    sizes = {"kind": "perceptron", "dim": 16, "pairs": [[6, 2]]}
    settings = PretrainSettings(dataset="set", out="checkpoint", encoder=sizes)
    again = PretrainSettings.model_validate_json(settings.model_dump_json())
    assert again == settings
    architecture = again.encoder.architecture(10, 24)
    assert isinstance(architecture, PerceptronArchitecture)
    assert (architecture.dim, architecture.pairs) == (16, ((6, 2),))
    # Of the paper's kind all sizes are kept, since trainings that were begun recorded them.
    assert set(EncoderSizes().model_dump()) == set(EncoderSizes.model_fields)
