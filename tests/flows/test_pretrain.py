"""`timesen pretrain`: what it makes and leaves, and what it refuses."""

import base64
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from prefect.client.orchestration import get_client
from safetensors.numpy import load_file

from flows.cli.main import run
from flows.settings.pretrain import PretrainSettings
from models.encoder.checkpoint import load_checkpoint, save_checkpoint
from models.encoder.preprocessing import AUTHORS, BANDS
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.training_set.shards import ground_lists
from tests.flows.conftest import REPOSITORY, connected
from tests.flows.pretrainings import alone, pretraining, weights
from tests.made_card import made_card
from tests.pipeline.conftest import small_disk
from tests.s3_server import s3
from tests.training_sets import made_set

__all__ = ["s3", "small_disk"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "set"
    made_set(str(folder))
    return folder


def test_a_checkpoint_its_card_and_what_is_shown(
    dataset: Path, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, recipe = tmp_path / "made", tmp_path / "recipe.toml"
    recipe.write_text(
        'licence = "CC-BY-4.0"\nrun = "RUN"\n[recipe]\nmonths = [12, 1]\nseed = 7\nbatch = 4\n'
        '[[recipe.variations]]\nname = "lost-months"\n'.replace("RUN", str(tmp_path / "run"))
    )
    with connected(users_server):
        assert run(pretraining(dataset, out, "--recipe", str(recipe), "--learned-temperature")) == 0
        with get_client(sync_client=True) as client:
            artifacts = {artifact.key: artifact.data for artifact in client.read_latest_artifacts()}
    said = capsys.readouterr().out
    made = load_checkpoint(out)
    assert f"fingerprint {made.fingerprint}" in said
    assert "training: 30 of 30 steps, loss" in said
    card = made.card
    assert (card.name, card.licence, card.demonstration) == ("made", "CC-BY-4.0", False)
    assert (card.text_tower, card.text_tower_revision) == ("clip:made", "r")
    assert card.architecture == TimeSenClipArchitecture(
        dim=16, depth=1, heads=2, feedforward=16, embedding_dim=16
    )
    facts = card.training
    assert facts["recipe"]["batch"] == 32  # the option goes before the file
    assert (facts["recipe"]["seed"], facts["recipe"]["months"]) == (7, [12, 1])
    assert facts["recipe"]["variations"][0]["name"] == "lost-months"
    assert (
        facts["data"]["fingerprint"]
        == json.loads((dataset / "dataset.json").read_text())["fingerprint"]
    )
    assert facts["data"]["points"] == {"train": 200, "validation": 40, "test": 40}
    assert facts["data"]["attribution"] == ["made for a test"]
    # What it was trained on, for maps that show what is unlike it.
    assert made.training_sample is not None
    assert made.training_sample.stored.shape == (200, 16)
    assert made.training_sample.steps == 12
    assert made.training_sample.limit > 0
    assert set(facts["versions"]) == {"timesen", "torch", "numpy"}
    (session,) = facts["sessions"]
    assert (session["from_step"], session["processes"], session["threads"]) == (0, 1, 1)
    assert (facts["steps"], facts["steps done"]) == (30, 30)
    assert card.metrics["validation T=12"]["points"] == 40
    assert 0 < card.metrics["validation T=1"]["recall_at_10_pixel_to_ground"] <= 1
    assert card.logit_scale != pytest.approx(1 / 0.07, rel=1e-6)  # it was learned

    folder = tmp_path / "run"
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries if "loss" in e] == [5, 10, 15, 20, 25, 30]
    assert [e["step"] for e in entries if "T=12" in e] == [15, 30]
    assert all(entry["points_per_second"] > 0 for entry in entries if "loss" in entry)
    assert len(list((folder / "states").iterdir())) == 3
    assert shown_by_tensorboard(folder)["train/loss"] == [5, 10, 15, 20, 25, 30]
    picture = base64.b64decode(artifacts["loss-curve"].partition("base64,")[2])
    assert picture == (folder / "loss.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    measures = json.loads(artifacts["pretraining-measures"])
    assert [(row["step"], row["T"]) for row in measures] == [
        (15, "12"), (15, "1"), (30, "12"), (30, "1"),
    ]  # fmt: skip
    assert artifacts["pretraining-progress"] == 100

    capsys.readouterr()
    with connected(users_server):
        assert run(pretraining(dataset, out)) == 2
        assert "exists already" in capsys.readouterr().err
        assert run(pretraining(dataset, out, "--replace", "--run", str(folder), "--seed", "8")) == 2
        said = capsys.readouterr().err
    assert "it holds another training" in said
    assert "recipe.seed: 7 → 8" in said


def shown_by_tensorboard(folder: Path) -> dict[str, list[int]]:
    """The steps of each of its curves."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_stops_early_with_the_checkpoint_of_the_lowest_loss(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    more = ("--rate", "0.5", "--patience", "2", "--validate-every", "2", "--save-every", "100")
    assert alone(pretraining(dataset, out, *more, "--steps", "500")) == 0
    facts = load_checkpoint(out).card.training
    found = [
        json.loads(line)
        for line in (tmp_path / "made.training" / "metrics.jsonl").read_text().splitlines()
    ]
    losses = {entry["step"]: entry["T=12"]["loss"] for entry in found if "T=12" in entry}
    assert facts["steps"] == min(losses, key=lambda step: losses[step])
    assert facts["steps done"] == facts["steps"] + 4 < 500
    assert [p.name for p in (tmp_path / "made.training" / "best").iterdir()] == [
        f"step-{facts['steps']:09d}.safetensors"
    ]


def test_several_sets_with_shares_and_balanced_classes(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out, recipe = tmp_path / "other", tmp_path / "made", tmp_path / "recipe.toml"
    made_set(str(other), train=50, held_out=9, views=2, seed=1, prefix="s")
    _, *options = pretraining(dataset, out, "--balance", "cover", "--shares", "0.7,0.3")
    assert alone(["pretrain", str(other), *options]) == 0
    card = load_checkpoint(out).card
    data = card.training["data"]
    assert [(one["name"], one["share"]) for one in data["sets"]] == [("other", 0.7), ("set", 0.3)]
    assert [one["fingerprint"] for one in data["sets"]] == [
        json.loads((folder / "dataset.json").read_text())["fingerprint"]
        for folder in (other, dataset)
    ]
    assert data["sets"][0]["points"] == {"train": 50, "validation": 9, "test": 9}
    assert data["points"] == {"train": 250, "validation": 49, "test": 49}
    assert data["attribution"] == ["made for a test"]
    assert data["balance"] == {"label": "cover", "exponent": 0.5}
    assert {name: found["points"] for name, found in card.metrics.items()} == {
        "validation T=12": 49, "validation T=12, other": 9, "validation T=12, set": 40,
    }  # fmt: skip
    assert card.description == "Pretrained on the training sets other, set"

    recipe.write_text(f'dataset = ["other", "{dataset}"]\n')
    _, _, *options = pretraining(dataset, out, "--replace", "--recipe", str(recipe))
    for more, problem in (
        (("--balance", "cover", "--shares", "0.6,0.4"), "shares: [0.7, 0.3] → [0.6, 0.4]"),
        (("--shares", "0.7,0.3"), "balance.label: cover → none"),
        (("--shares", "0.7"), "1 shares for 2 sets"),
        (("--shares", "0.7,0.3", "--set-exponent", "0"), "give one"),
        (("--balance-exponent", "0.1"), "name it by balance"),
        (("--balance", "crop"), "has none of this name"),
    ):
        require_refused(alone(["pretrain", *options, *more]), capsys, problem)


def test_a_single_balanced_set(dataset: Path, tmp_path: Path) -> None:
    weights_of = {}
    for name, more in (("plain", ()), ("same", ("1",)), ("balanced", ("0",))):
        balance = ("--balance", "cover", "--balance-exponent", *more) if more else ()
        assert alone(pretraining(dataset, tmp_path / name, "--steps", "10", *balance)) == 0
        weights_of[name] = weights(tmp_path / name)
    assert weights_of["same"] == weights_of["plain"] != weights_of["balanced"]
    facts = json.loads((tmp_path / "plain.training" / "training.json").read_text())
    assert "balance" not in facts
    assert "shares" not in facts
    assert isinstance(facts["dataset"], str)


def test_what_a_killed_process_was_writing_goes_at_the_end(dataset: Path, tmp_path: Path) -> None:
    """Where the process that trains is killed in the middle of a state, another takes its place."""
    own = "from pipeline.io.local_files import _part_name\nprint(_part_name())"
    told = subprocess.run([sys.executable, "-c", own], capture_output=True, text=True, check=True)
    part = tmp_path / "made.training" / "states" / told.stdout.strip()
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half a state")
    assert alone(pretraining(dataset, tmp_path / "made", "--steps", "5")) == 0
    assert not part.exists()
    assert list(part.parent.iterdir())


@pytest.mark.parametrize("more", [(), ("--patience", "9")])
def test_averaged_weights_become_the_checkpoint(
    dataset: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    out = tmp_path / "made"
    averaged = ("--weight-average", "0.9", "--learned-temperature", *more)
    assert alone(pretraining(dataset, out, *averaged)) == 0
    made = load_checkpoint(out)
    step = made.card.training["steps"]
    state = load_file(tmp_path / "made.training" / "states" / f"state-{step:09d}.safetensors")
    for name, tensor in made.encoder.state_dict().items():
        np.testing.assert_array_equal(tensor, state[f"average.encoder.{name}"])
    assert made.card.logit_scale == pytest.approx(float(np.exp(state["average.loss.log_scale"])))
    assert made.card.training["recipe"]["weight_average"] == 0.9


def test_goes_on_from_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    start, out = tmp_path / "start", tmp_path / "made"
    sizes = TimeSenClipArchitecture(dim=8, depth=1, heads=1, feedforward=8, embedding_dim=16)
    torch.manual_seed(3)
    before = save_checkpoint(start, TimeSenClipEncoder(sizes), made_card(sizes))
    assert alone(pretraining(dataset, out, "--from", str(start), "--rate", "1e-9")) == 0
    made = load_checkpoint(out)
    assert made.card.training["started from"] == {"name": "tiny", "fingerprint": before}
    assert made.card.architecture == sizes
    assert made.card.demonstration  # as what it began with
    first = load_checkpoint(start).encoder.state_dict()
    for name, tensor in made.encoder.state_dict().items():
        torch.testing.assert_close(tensor, first[name], atol=1e-5, rtol=0)
    assert weights(out) != weights(start)


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_loss_that_is_no_number_stops_with_the_batch_saved(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    place: str, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    ill = tmp_path / "ill"
    made_set(str(ill), train=64, views=1, shard_rows=64)
    (shard,) = (ill / "shards").glob("train-*")
    table = pq.read_table(shard)
    ground = ground_lists(np.arange(65), np.full((64, 16), np.nan, np.float16))
    column = table.schema.names.index("ground")
    pq.write_table(table.set_column(column, "ground", ground), shard)
    folder = str(tmp_path / "run") if place == "folder" else f"{request.getfixturevalue('s3')}/run"
    assert alone(pretraining(ill, tmp_path / "made", "--run", folder)) == 2
    said = capsys.readouterr().err
    name = "batch-step-000000000-process-0.safetensors"
    assert f"its batch is saved as {folder}/{name}" in said
    if place == "folder":
        assert load_file(tmp_path / "run" / name)["series"].shape == (32, 12, 10)
        assert not (tmp_path / "run" / "states").exists()


def test_a_full_disk_leaves_the_states_that_were_saved(
    dataset: Path, tmp_path: Path, small_disk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ("--run", str(small_disk / "run"), "--memory-bank", "2000", "--keep", "9")
    assert alone(pretraining(dataset, tmp_path / "made", *more)) == 1
    said = capsys.readouterr().err
    assert "No space left on device. Finished work is kept; free some space" in said
    states = sorted((small_disk / "run" / "states").iterdir())
    assert 1 < len(states) < 6
    assert {state.stat().st_size for state in states[1:]} != {0}
    assert not (tmp_path / "made").exists()
    (small_disk / "run" / "loss.png").unlink(missing_ok=True)
    states[0].unlink()  # some space is freed, and states that are kept are fewer
    again = ("--run", str(small_disk / "run"), "--memory-bank", "2000", "--keep", "1")
    assert alone(pretraining(dataset, tmp_path / "made", *again)) == 0
    (first, second) = load_checkpoint(tmp_path / "made").card.training["sessions"]
    assert first["from_step"] == 0
    assert f"{second['from_step']:09d}" in states[-1].name


def require_refused(code: int, capsys: pytest.CaptureFixture[str], problem: str) -> None:
    """Fail where a command has not ended with a user's mistake, of this problem, in a paragraph."""
    said = capsys.readouterr().err
    assert code == 2, said
    assert said.startswith("Error: ")
    assert problem in said
    assert "secret@" not in said


def test_what_may_go_wrong(
    dataset: Path, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, turned, small = tmp_path / "made", tmp_path / "turned", tmp_path / "small"
    sizes = TimeSenClipArchitecture(dim=8, depth=1, heads=1, feedforward=8, embedding_dim=16)
    order = {"bands": BANDS[::-1], "low": AUTHORS.low[::-1], "high": AUTHORS.high[::-1]}
    preprocessing = type(AUTHORS)(**{**vars(AUTHORS), **order})
    save_checkpoint(
        turned, TimeSenClipEncoder(sizes), made_card(sizes, preprocessing=preprocessing)
    )
    made_set(str(small), held_out=0)
    (tmp_path / "file").write_text("")
    # With the mark that Windows' editors begin a file with.
    (tmp_path / "recipe.toml").write_text("[recipe]\nstep = 3\n", encoding="utf-8-sig")
    given = [str(dataset), "--out", str(out)]
    for arguments, problem in (
        ([str(tmp_path), "--out", str(out)], "there is no finished training set here"),
        ([str(dataset)], "out: it is missing"),
        ([*given, "--batch", "2", "--processes", "3"], "fewer points than processes (3)"),
        ([*given, "--batch", "9", "--processes", "2"], "2 processes cannot share it alike"),
        ([*given, "--batch", "64", "--memory-bank", "32"], "memory_bank is 32, smaller than"),
        ([*given, "--batch", "500"], "has 200 points to train on, which is less than one"),
        ([*given, "--from", str(turned)], "in this order it does not fit an encoder of B12"),
        ([*given, "--heads", "3"], "dim 512 cannot be shared by 3 heads"),
        (
            [*given, "--recipe", str(tmp_path / "recipe.toml")],
            "recipe.step: there is no such setting (did you mean steps?)",
        ),
        ([*given, "--recipe", str(tmp_path / "none.toml")], "there is no such file"),
        (
            [*given, "--months", "12,five"],
            "recipe.months.1: 'five' is given, and it must be 12, 4 or 1",
        ),
        ([*given, "--variation", "lost-months:share"], "write NAME:SETTING=VALUE"),
        ([*given, "--run", str(tmp_path / "file")], "it is a file"),
        ([*given, "--out", "s3://bucket/made"], "a checkpoint is written to a folder"),
        ([*given, "--run", "s3://key:secret@bucket/run"], "may hold a secret"),
        ([str(small), "--out", str(out), "--patience", "2"], "no points to validate on"),
        ([*given, "--tracker", "mlflow"], "pip install 'timesen[mlflow]'"),
        ([*given, "--device", "cuda"], "it sees no GPU"),
    ):
        more = [] if "--batch" in arguments else ["--batch", "32"]
        require_refused(alone(["pretrain", *more, *arguments]), capsys, problem)
    with connected(users_server):
        for arguments, problem in (
            (["--device", "cuda", "--processes", "2"], "this machine has none that torch can use"),
            (["--tracker", "wandb"], "pip install 'timesen[wandb]'"),
            (["--cluster", "nowhere"], "cluster.kind: 'nowhere' is given"),
        ):
            require_refused(run(["pretrain", *given, "--batch", "32", *arguments]), capsys, problem)
    assert not out.exists()


def test_the_recipe_of_the_documentation_and_the_deployment_are_settings() -> None:
    page = (REPOSITORY / "docs" / "pretraining.md").read_text()
    recipe = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    assert PretrainSettings.model_validate(recipe).recipe.months == (12, 4, 1)
    deployments = yaml.safe_load((REPOSITORY / "infra" / "prefect.yaml").read_text())["deployments"]
    (found,) = [d for d in deployments if d["entrypoint"] == "flows.pretrain.pretrain"]
    assert PretrainSettings.model_validate(found["parameters"]["settings"]).patience == 10
