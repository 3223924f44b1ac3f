"""Cards and weights that ask for more than their files bear out: refused at once, in no memory."""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from models.encoder.checkpoint import load_checkpoint, save_checkpoint
from models.encoder.registry import new_encoder
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.errors import CheckpointError
from models.files.regular_file import DamagedFile
from models.files.tensor_file import MOST_TENSORS, StoredTensor, stored_tensors
from tests.made_card import made_card

SIZES = TimeSenClipArchitecture(dim=24, depth=2, heads=3, feedforward=20, embedding_dim=12)
SECONDS, MEGABYTES = 1.0, 100.0
Change = Callable[[Path], object]


def sizes(**changed: Any) -> Change:
    """A change of the architecture on a card."""

    def change(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        card["architecture"].update(changed)
        (folder / "card.json").write_text(json.dumps(card))

    return change


def field(**changed: Any) -> Change:
    """A change of a card's fields."""

    def change(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text()) | changed
        (folder / "card.json").write_text(json.dumps(card))

    return change


def content(of: Callable[[bytes], bytes]) -> Change:
    """A change of the bytes of the weights."""
    return lambda folder: (folder / "model.safetensors").write_bytes(
        of((folder / "model.safetensors").read_bytes())
    )


def tensors(of: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    """A change of the weights, in a file that is sound as such."""
    return lambda folder: save_file(
        of(load_file(folder / "model.safetensors")), folder / "model.safetensors"
    )


def header(of: Callable[[dict[str, Any]], object], more: int = 0) -> Change:
    """A change of the weights' header, and so many bytes more of numbers."""

    def changed(before: bytes) -> bytes:
        (length,) = struct.unpack("<Q", before[:8])
        fields = json.loads(before[8 : 8 + length])
        of(fields)
        text = json.dumps(fields).encode()
        return struct.pack("<Q", len(text)) + text + before[8 + length :] + bytes(more)

    return content(changed)


def in_place_of(name: str, target: str) -> Change:
    """A link in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return change


def pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def sparse(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 40 * 10**9)


def as_float8(of: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(torch.float8_e4m3fn) for name, tensor in of.items()}


def too_large_as_float32(of: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    head = of["mlp_head.1.weight"].double()
    head[0, 0] = 1e300
    return of | {"mlp_head.1.weight": head}


def renamed(of: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"other.{name}": tensor for name, tensor in of.items()}


def deep_and_narrow(folder: Path) -> None:
    """As many weights as a file has, in a million layers."""
    sizes(depth=10**6, dim=1, heads=1, feedforward=1)(folder)
    save_file({"one": torch.zeros(3_000_000)}, folder / "model.safetensors")


def one_long_name(fields: dict[str, Any]) -> None:
    fields["x" * 5000 + "\n\x1b[2J"] = fields.pop("class_token")


CASES: dict[str, tuple[Change, str]] = {
    "dim": (sizes(dim=3 * 10**9), "the card's architecture has"),
    "feedforward": (sizes(feedforward=10**18), r"has some 10\^19"),
    "depth": (sizes(depth=10**6), "the card's architecture has"),
    "depth of layers of one": (deep_and_narrow, "it holds 1 tensors"),
    "embedding_dim": (sizes(embedding_dim=10**9), "the card's architecture has"),
    "a thousand digits": (sizes(depth=10**1000), r"has some 10\^100"),
    "five thousand digits": (sizes(depth=[10**4000] * 2), "architecture.depth"),
    "heads": (sizes(heads=0), "heads is 0, and must be 1 or more"),
    "months": (sizes(months=-1), "months is -1, and must be 1 or more"),
    "many months": (sizes(months=10**9), "architecture has 1000000000"),
    "bands": (sizes(bands=10**9), "architecture has 1000000000"),
    "text for a size": (sizes(dim="24"), "architecture.dim"),
    "fraction for a size": (sizes(dim=24.5), "architecture.dim"),
    "dropout": (sizes(dropout=float("nan")), "dropout"),
    "steps": (field(trained_steps=list(range(50_000))), "trained_steps"),
    "calibrations": (field(calibrations=[{}] * 10**5), "calibrations"),
    "keys": (field(**{f"k{n}": 1 for n in range(30_000)}), "k0: unknown key; .* and more"),
    "large card": (field(description="x" * 2**21), "bytes, and must have"),
    "endless card": (in_place_of("card.json", "/dev/zero"), "not a file"),
    "endless weights": (in_place_of("model.safetensors", "/dev/zero"), "not a file"),
    "pipe": (pipe, "not a file"),
    "shorter": (content(lambda all_: all_[:-4]), "header speaks of .* the file has"),
    "longer": (content(lambda all_: all_ + b"0"), "header speaks of .* the file has"),
    "far longer": (sparse, "header speaks of .* the file has 39,9"),
    "header": (content(lambda all_: struct.pack("<Q", 10**11) + all_[8:]), "100,000,000,000 bytes"),
    "deep header": (content(lambda _: struct.pack("<Q", 10**6) + b"[" * 10**6), "no JSON"),
    "shape": (header(lambda all_: all_["class_token"].update(shape=[10**12])), "contradicts"),
    "offsets": (header(lambda all_: all_["class_token"].update(data_offsets=[5, 5])), "contradic"),
    "fields": (header(lambda all_: all_.update(class_token=5)), "contradicts itself"),
    "overlap": (
        header(lambda all_: all_.update(twice=all_["class_token"])),
        "overlap or leave gaps",
    ),
    "names": (header(one_long_name), "names that are no names"),
    "float8": (tensors(as_float8), "class_token is F8_E4M3, not floating point"),
    "float64": (tensors(too_large_as_float32), "mlp_head.1.weight holds NaN or infinity"),
    "other names": (tensors(renamed), "missing class_token, .*; unexpected other.class_token"),
}


def main(root: Path) -> None:
    """Load the folders of all cases; print what came of each, and seconds and megabytes."""
    for name in CASES:
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            load_checkpoint(root / name)
            said = "loaded"
        except CheckpointError as error:
            said = f"refused: {error}"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([name, said, time.process_time() - start, grown / 1024]), flush=True)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, float]]:
    """What came of each case, in a process of its own, whose memory is that of loading."""
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    save_checkpoint(root / "sound", TimeSenClipEncoder(SIZES), made_card(SIZES))
    for name, (change, _) in CASES.items():
        change(Path(shutil.copytree(root / "sound", root / name)))
    ran = subprocess.run(
        [sys.executable, "-m", __name__, str(root)],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=200,
    )
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    return {name: (said, seconds, megabytes) for name, said, seconds, megabytes in rows}


@pytest.mark.parametrize("name", CASES)
def test_what_the_file_does_not_bear_out_is_refused_at_once(
    name: str, outcomes: dict[str, tuple[str, float, float]]
) -> None:
    said, seconds, megabytes = outcomes[name]
    assert said.startswith("refused: "), said
    with pytest.raises(CheckpointError, match=CASES[name][1]):
        raise CheckpointError(said, "", "")
    assert len(said) < 2500
    assert said.isprintable()
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


def test_tensors_of_a_header() -> None:
    numbers = {"a": torch.zeros(2, 3), "b": torch.zeros(0, 5, dtype=torch.int8)}
    stored = stored_tensors(save(numbers))
    assert stored == {"a": StoredTensor("F32", (2, 3)), "b": StoredTensor("I8", (0, 5))}
    assert stored["a"].count == 6


def test_more_tensors_than_a_file_may_have() -> None:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({str(number): empty for number in range(MOST_TENSORS + 1)}).encode()
    with pytest.raises(DamagedFile, match="10,001 tensors, and may have 10,000"):
        stored_tensors(struct.pack("<Q", len(text)) + text)


@pytest.mark.parametrize("changed", [{"dim": 3 * 10**7}, {"depth": 10**6}])
def test_a_new_encoder_that_no_memory_holds_is_refused(changed: dict[str, int]) -> None:
    with pytest.raises(CheckpointError, match=r"an encoder of these sizes has .* Give smaller"):
        new_encoder(TimeSenClipArchitecture(**{"dim": 3, "heads": 1, "feedforward": 3} | changed))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
