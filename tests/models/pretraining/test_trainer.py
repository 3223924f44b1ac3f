"""One process's training: it learns, stops where it cannot, and goes on bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open

from models.encoder.preprocessing import AUTHORS
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.errors import PretrainingError
from models.pretraining.batch import NO_KEY, Batch
from models.pretraining.collectives import Processes
from models.pretraining.model_input import InputMaker
from models.pretraining.recipe import Recipe
from models.pretraining.state import TrainingState
from models.pretraining.trainer import Pretraining
from tests.models.made_points import SIZES, batch_of_step, made_points, rows_of

CPU = torch.device("cpu")
EVERY_VARIATION = [
    {"name": name}
    for name in ("reflectance", "shifted-calendar", "another-year", "lost-months", "lost-bands")
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def points() -> Batch:
    return made_points(24)


def recipe_of(**choices: Any) -> Recipe:
    fields = {"batch": 12, "memory_bank": 24, "steps": 200, "rate": 3e-3, "augmentation": "none"}
    return Recipe.model_validate(fields | choices)


def training_of(recipe: Recipe, sizes: TimeSenClipArchitecture = SIZES, **more: Any) -> Pretraining:
    return Pretraining(recipe, AUTHORS, sizes, CPU, **more)


def trained(training: Pretraining, points: Batch, steps: int) -> list[float]:
    first = training.steps_done
    batches = (batch_of_step(points, training.recipe.batch, first + n) for n in range(steps))
    return [training.step(batch).loss for batch in batches]


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"pooling": "attention-view", "learned_temperature": True},
        {"pooling": "attention-dimension", "loss": "in-batch"},
        {"views": "drawn"},
    ],
    ids=lambda choices: "-".join(map(str, choices.values())) or "mean",
)
def test_a_few_points_are_learned_by_heart(points: Batch, choices: dict[str, Any]) -> None:
    training = training_of(recipe_of(**choices))
    losses = trained(training, points, 200)
    found = training.validate([rows_of(points, slice(0, 20)), rows_of(points, slice(20, None))])
    assert found["points"] == 24
    recalls = {name: value for name, value in found.items() if name.startswith("recall")}
    assert len(recalls) == 6
    assert set(recalls.values()) == {1.0}
    assert np.mean(losses[-20:]) < 0.1
    assert found["loss"] < 0.1


def test_all_lengths_are_learned(points: Batch) -> None:
    training = training_of(recipe_of(months=(12, 4, 1), steps=400))
    trained(training, points, 400)
    for months in (12, 4, 1):
        found = training.validate([points], months)
        assert found["recall_at_1_pixel_to_ground"] > 0.9
    only = training_of(recipe_of())
    trained(only, points, 200)
    assert only.validate([points], 1)["recall_at_1_pixel_to_ground"] < 0.5


def test_steps_are_reported(points: Batch) -> None:
    training = training_of(recipe_of(months=(12, 12, 1), learned_temperature=True, steepest=1e-6))
    reports = [training.step(batch_of_step(points, 12, step)) for step in range(60)]
    assert [report.step for report in reports] == list(range(60))
    assert training.steps_done == 60
    assert 30 < sum(report.months == 12 for report in reports) < 50
    assert {report.months for report in reports} == {12, 1}
    assert reports[0].temperature == pytest.approx(0.07)
    assert reports[-1].temperature != reports[0].temperature
    assert training.logit_scale > 1
    assert [report.rate for report in reports] == list(map(training.recipe.rate_at, range(60)))
    assert max(report.gradient_norm for report in reports) > 1e-3  # before it is limited
    assert not any(report.skipped for report in reports)


def test_half_precision_learns(points: Batch) -> None:
    training = training_of(recipe_of(precision="bfloat16"))
    trained(training, points, 200)
    assert training.encoder().class_token.dtype == torch.float32
    assert training.validate([points])["recall_at_1_pixel_to_ground"] > 0.9


def test_a_plain_step_is_the_loss_of_what_the_encoder_gives(points: Batch) -> None:
    """Losses, and the encoder after three steps, beside the same put together by hand."""
    recipe = recipe_of(schedule="constant")
    training = training_of(recipe)
    encoder = training.encoder().train()
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=recipe.rate, weight_decay=0.01)
    queue = torch.zeros(0, 16)
    for step in range(3):
        batch = batch_of_step(points, 12, step)
        views = zip(batch.ground, batch.present, strict=True)
        ground = torch.stack([torch.from_numpy(own[there]).mean(0) for own, there in views])
        series = np.where(batch.series == 0, np.nan, batch.series.astype(np.float64))
        filled = np.where(np.isnan(series), np.nanmedian(series, axis=1, keepdims=True), series)
        pixels = encoder(AUTHORS.normalise(torch.from_numpy(filled)))
        ground = torch.nn.functional.normalize(ground, dim=1)
        own = (pixels * ground).sum(dim=1, keepdim=True)
        others = pixels @ queue.T
        # The bank holds this point's own ground embedding from an epoch ago: no negative.
        others = others.masked_fill((ground @ queue.T) > 0.9999, -torch.inf)
        logits = torch.cat((own, others), dim=1) / 0.07
        loss = (logits.logsumexp(dim=1) - logits[:, 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        queue = torch.cat((queue, ground))[-24:]
        assert training.step(batch).loss == pytest.approx(loss.item(), abs=1e-6)
    # Not the weights: of keys' biases, whose gradient is 0 but for rounding, Adam makes steps.
    with torch.inference_mode():
        series = AUTHORS.normalise(points.series)
        assert (training.encoder()(series) - encoder.eval()(series)).abs().max() < 1e-4


def test_points_that_depict_the_same_are_no_negatives(points: Batch) -> None:
    alike = replace(points, keys=np.zeros_like(points.keys))
    for loss in ("memory-bank", "in-batch"):
        assert set(trained(training_of(recipe_of(loss=loss)), alike, 4)) == {0.0}
        assert min(trained(training_of(recipe_of(loss=loss)), points, 4)[1:]) > 1


@pytest.mark.parametrize("loss", ["memory-bank", "in-batch"])
def test_what_any_view_depicts_or_may_be_true_is_no_negative(points: Batch, loss: str) -> None:
    """Two views have keys of their own, and a further key may be true."""
    own = np.arange(24)
    cropland = np.where(own % 2, 99, NO_KEY)
    keys = np.stack((own // 24 + 7, np.full(24, 8), np.full(24, NO_KEY), cropland), axis=1)
    recipe = recipe_of(loss=loss, views="drawn")
    two = replace(points, present=np.arange(3) < 2 + np.zeros((24, 1), int))
    assert set(trained(training_of(recipe), replace(two, keys=keys), 4)) == {0.0}
    # Rows that are of key 7, and of which 8 may be true: a text of 8 is no negative of them.
    keys = np.where(own[:, None] % 2, [[7, NO_KEY, NO_KEY, 8]], [[8, NO_KEY, NO_KEY, 7]])
    one = replace(points, present=np.arange(3) < 1 + np.zeros((24, 1), int), keys=keys)
    assert set(trained(training_of(recipe), one, 4)) == {0.0}
    without = replace(one, keys=keys[:, :3])
    assert min(trained(training_of(recipe), without, 4)[1:]) > 0.5


def test_averaged_weights_are_what_is_validated_and_given(points: Batch) -> None:
    plain, averaged = training_of(recipe_of()), training_of(recipe_of(weight_average=0.9))
    expected = plain.encoder().state_dict()
    for step in range(12):
        batch = batch_of_step(points, 12, step)
        assert plain.step(batch).loss == averaged.step(batch).loss
        decay = min(0.9, (2 + step) / (11 + step))
        for name, weights in plain.encoder().state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * weights
    given = averaged.encoder()
    for name, weights in given.state_dict().items():
        torch.testing.assert_close(weights, expected[name], atol=1e-6, rtol=1e-5)
    assert not torch.equal(given.class_token, plain.encoder().class_token)
    beside = training_of(recipe_of(), start=given)
    assert averaged.validate([points]) == pytest.approx(beside.validate([points]), abs=1e-6)


@pytest.mark.parametrize(
    "choices",
    [
        {"pooling": "attention-dimension", "learned_temperature": True, "augmentation": "TSMS"},
        {"pooling": "attention-view", "learned_temperature": True, "weight_average": 0.9},
        {"loss": "in-batch", "views": "drawn", "variations": EVERY_VARIATION, "months": (12, 1)},
        {"views": "drawn", "wording_noise": 1.0},
    ],
    ids=["bank", "averaged", "in-batch", "noise"],
)
def test_a_training_goes_on_bit_for_bit(points: Batch, choices: dict[str, Any]) -> None:
    keyed = replace(points, keys=np.arange(24)[:, None] % 8 + np.zeros_like(points.keys))
    recipe = recipe_of(**choices)
    sizes = replace(SIZES, dropout=0.1)
    through = training_of(recipe, sizes)
    losses = trained(through, keyed, 12)
    half = training_of(recipe, sizes)
    assert trained(half, keyed, 7) == losses[:7]
    saved = half.state().to_bytes()
    trained(half, keyed, 2)  # later steps do not reach what was saved
    torch.manual_seed(99)  # nothing depends on what others draw
    again = training_of(recipe, sizes)
    again.load_state(TrainingState.of_bytes(saved, "here"))
    assert again.steps_done == 7
    assert trained(again, keyed, 5) == losses[7:]
    assert again.state().to_bytes() == through.state().to_bytes()


def test_seeds_differ_and_one_gives_the_same(points: Batch) -> None:
    losses = [
        trained(training_of(recipe_of(seed=seed, augmentation="TSMixAug")), points, 4)
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_validation_changes_nothing(points: Batch) -> None:
    sizes = replace(SIZES, dropout=0.2)
    one, other = (training_of(recipe_of(), sizes) for _ in range(2))
    trained(one, points, 3)
    trained(other, points, 3)
    assert one.validate([points]) == one.validate([points])
    assert trained(one, points, 2) == trained(other, points, 2)


def test_a_checkpoint_is_trained_on(points: Batch) -> None:
    torch.manual_seed(5)
    start = TimeSenClipEncoder(SIZES)
    training = training_of(recipe_of(), start=start)
    before = training.encoder()
    assert all(torch.equal(start.state_dict()[k], v) for k, v in before.state_dict().items())
    assert not before.training
    trained(training, points, 2)
    assert torch.equal(start.mlp_head[1].weight, before.mlp_head[1].weight)
    assert not torch.equal(training.encoder().mlp_head[1].weight, before.mlp_head[1].weight)


def test_a_loss_that_is_no_number_stops_and_keeps_the_batch(points: Batch, tmp_path: Path) -> None:
    training = training_of(recipe_of(), failed_batches=tmp_path / "remains")
    trained(training, points, 2)
    before = training.state().to_bytes()
    ground = points.ground.copy()
    ground[5, 0, 3] = np.nan
    bad = rows_of(replace(points, ground=ground), slice(0, 12))
    with pytest.raises(PretrainingError, match="step 2: the loss is nan; its batch is") as raised:
        training.step(bad)
    (path,) = (tmp_path / "remains").iterdir()
    assert str(path) in str(raised.value)
    kept = safetensors.numpy.load_file(path)
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["ids"]) == bad.ids
    for name in ("series", "ground", "present", "keys"):
        assert np.array_equal(kept[name], getattr(bad, name), equal_nan=name == "ground")
    assert training.state().to_bytes() == before


def test_a_gradient_that_is_no_number_stops(points: Batch, tmp_path: Path) -> None:
    training = training_of(recipe_of(loss="in-batch"), failed_batches=tmp_path)
    weight = training._model.encoder.mlp_head[1].weight
    weight.register_hook(lambda gradient: gradient * torch.inf)
    before = training.encoder().state_dict()
    with pytest.raises(PretrainingError, match=r"but its gradient (nan|inf)"):
        training.step(rows_of(points, slice(0, 12)))
    after = training.encoder().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_remains_that_cannot_be_saved_do_not_hide_why(points: Batch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    training = training_of(recipe_of(), failed_batches=tmp_path / "file")
    bad = replace(points, ground=points.ground * np.nan)
    with pytest.raises(PretrainingError, match="the loss is nan; its batch could not be saved"):
        training.step(rows_of(bad, slice(0, 12)))


def batch_without(points: Batch, what: str) -> Batch:
    batch = rows_of(points, slice(0, 12))
    if what == "observations":
        batch.series[3] = 0
    elif what == "views":
        batch.present[4] = False
    elif what == "bands":
        return replace(batch, series=batch.series[:, :, :9])
    elif what == "keys":
        return replace(batch, keys=batch.keys[:, :2])
    elif what == "dimensions":
        return replace(batch, ground=batch.ground[:, :, :15])
    elif what == "rows":
        return rows_of(batch, slice(0, 11))
    return batch


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("observations", r"1 of its points have no clear observation \(3\)"),
        ("views", r"1 of its points have no ground view \(4\)"),
        ("bands", r"its series is \(12, 12, 9\), and the encoder takes \(12, 12, 10\)"),
        ("dimensions", r"its ground is \(12, 3, 15\), and the encoder takes \(12, 3, 16\)"),
        ("keys", r"its keys are \(12, 2\), fewer than its views \(12, 3\)"),
        ("rows", "this process takes 12 of the recipe's 12"),
    ],
)
def test_batches_that_do_not_fit(what: str, problem: str) -> None:
    training = training_of(recipe_of())
    with pytest.raises(PretrainingError, match=problem):
        training.step(batch_without(made_points(12), what))


@pytest.mark.parametrize(
    ("recipe", "sizes", "more", "problem"),
    [
        ({"precision": "float16"}, SIZES, {}, "float16 needs a GPU"),
        ({}, replace(SIZES, bands=9), {}, "it has 9 bands, the preprocessing 10"),
        ({}, replace(SIZES, months=6), {}, "it has 6 months, the preprocessing 12"),
        ({}, SIZES, {"start": TimeSenClipEncoder(replace(SIZES, depth=1))}, "depth 1, not 2"),
        ({}, SIZES, {"world": 5}, "5 processes cannot share it alike"),
        ({}, SIZES, {"world": 17}, "fewer points than processes"),
    ],
)
def test_what_does_not_go_together(
    recipe: dict[str, Any], sizes: TimeSenClipArchitecture, more: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PretrainingError, match=problem):
        training_of(recipe_of(**recipe), sizes, **more)


def test_bands_that_the_encoder_does_not_take_cannot_be_lost() -> None:
    order = [*range(7), 8, 9]
    nine = replace(
        AUTHORS,
        **{
            name: tuple(getattr(AUTHORS, name)[n] for n in order)
            for name in ("bands", "low", "high")
        },
    )
    recipe = recipe_of(variations=["lost-bands"])
    with pytest.raises(PretrainingError, match="it can lose B8A; the series have B02"):
        Pretraining(recipe, nine, replace(SIZES, bands=9), CPU)


def test_rows_without_a_band_are_learned(points: Batch) -> None:
    lacking = replace(points, series=points.series.copy())
    lacking.series[::2, :, 7] = 0
    variations = ["another-year", "reflectance:shift=0.01", "lost-bands:probability=1"]
    training = training_of(recipe_of(variations=variations))
    assert np.isfinite(trained(training, lacking, 4)).all()
    batch = rows_of(lacking, slice(0, 12))
    seen = InputMaker(training.recipe, AUTHORS, Processes(0, 1), CPU).training(batch, 0).series
    assert (seen[::2, :, 7] == 0).all()
    assert (seen[:, :, [0, 1, 2, 6, 8, 9]] > 0).any(dim=1).all()


def test_states_from_before_optional_bands_are_gone_on_from(points: Batch) -> None:
    training = training_of(recipe_of())
    assert "optional_bands" not in training.state().facts["preprocessing"]
    optional = replace(AUTHORS, optional_bands=("B8A",))
    other = Pretraining(recipe_of(), optional, SIZES, CPU)
    with pytest.raises(PretrainingError, match="optional_bands None, not"):
        other.load_state(training.state())


def test_a_state_of_another_recipe_is_refused() -> None:
    state = training_of(recipe_of()).state()
    with pytest.raises(PretrainingError, match=r"another: rate 0\.003, not 0\.001"):
        training_of(recipe_of(rate=1e-3)).load_state(state)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("model.encoder.time_pos_encoding", None),
        ("model.encoder.class_token", torch.zeros(3)),
        ("optimiser 0.exp_avg", torch.zeros(3)),
        ("optimiser 900.exp_avg", torch.zeros(3)),
    ],
)
def test_a_state_of_other_tensors_is_refused(
    points: Batch, part: str, value: torch.Tensor | None
) -> None:
    training = training_of(recipe_of())
    trained(training, points, 1)
    state = training.state()
    kept = {name: tensor for name, tensor in state.tensors.items() if name != part}
    changed = replace(state, tensors=kept if value is None else kept | {part: value})
    with pytest.raises(PretrainingError, match="its tensors are not this training's"):
        training_of(recipe_of()).load_state(changed)
