"""Files of the authors' training: read where they are good, refused where they are not."""

import argparse
import builtins
import io
import math
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint_import.timesenclip_card import imported_card
from models.checkpoint_import.timesenclip_checkpoint import PREFIXES, read_authors_checkpoint
from models.encoder.checkpoint import load_checkpoint, save_checkpoint
from models.encoder.encoder_weights import encoder_of_weights
from models.encoder.preprocessing import BANDS
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.errors import CheckpointError
from tests.authors_file import CONFIG, Tensors, beside, encoder, lightning, saved, under

TENSOR = "transformer.layers.1.linear1.weight"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt"


def refused(path: Path, prefix: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_authors_checkpoint(path, prefix)
    return str(caught.value)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("whole", [True, False], ids=["lightning", "state dict"])
def test_what_is_imported_is_the_same_function(place: Path, prefix: str, whole: bool) -> None:
    state = under(prefix) | beside()
    found = read_authors_checkpoint(saved(lightning(state) if whole else state, place))
    assert found.prefix == prefix
    assert found.copies == found.unknown == ()
    assert found.left_out == {
        "learner.queue": 1,
        "learner.queue_ptr": 1,
        "learner.pooling_layer": 1,
        "logit_scale": 1,
        "clip_model": 2,
    }
    assert found.log_scale == 3.0
    assert found.origin.get("global_step") == (3400 if whole else None)
    card, _ = imported_card(found, "mine", {}, BANDS)
    made = encoder_of_weights(card.architecture, found.tensors, str(place))
    save_checkpoint(place.with_name("mine"), made, card)
    series = torch.rand(5, 12, 10)
    loaded = load_checkpoint(place.with_name("mine"))
    assert torch.equal(loaded.encoder(series), encoder()(series))
    assert loaded.card == card


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(place: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in under("").items()}
    found = read_authors_checkpoint(saved(state, place))
    made = encoder_of_weights(CONFIG, found.tensors, "it")
    assert {tensor.dtype for tensor in made.state_dict().values()} == {torch.float32}
    assert torch.equal(made.mlp_head[1].weight, state["mlp_head.1.weight"].float())


def test_tensors_that_share_memory_are_saved(place: Path) -> None:
    # As the authors' modules do: one encoder, registered twice.
    state = encoder().state_dict()
    twice = {prefix + name: tensor for prefix in PREFIXES[1:3] for name, tensor in state.items()}
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    views, start = {}, 0
    for name, tensor in state.items():
        views[name] = flat[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    for content, prefix, copies in ((twice, PREFIXES[1], (PREFIXES[2],)), (views, "", ())):
        found = read_authors_checkpoint(saved(content, place))
        assert (found.prefix, found.copies) == (prefix, copies)
        card, _ = imported_card(found, "mine", {}, BANDS)
        made = encoder_of_weights(CONFIG, found.tensors, "it")
        save_checkpoint(place.with_name("mine"), made, card, replace=True)
        series = torch.rand(2, 12, 10)
        loaded = load_checkpoint(place.with_name("mine"))
        assert torch.equal(loaded.encoder(series), encoder()(series))


def test_encoders_that_differ_are_told_apart_by_their_prefix(place: Path) -> None:
    state = under("TS_ViT.", encoder(1)) | under("learner.ts_encoder.", encoder(2))
    said = refused(saved(lightning(state), place))
    assert "encoders that differ, under learner.ts_encoder. and TS_ViT." in said
    for prefix, seed in (("TS_ViT.", 1), ("TS_ViT", 1), ("learner.ts_encoder", 2)):
        found = read_authors_checkpoint(place, prefix)
        assert torch.equal(found.tensors[TENSOR], encoder(seed).state_dict()[TENSOR])
        assert found.unknown == ()
    assert "no encoder under learner.TS_ViT." in refused(place, "learner.TS_ViT")


def test_an_encoder_elsewhere_is_found_by_its_prefix(place: Path) -> None:
    saved(lightning(under("net.encoder.") | {"net.projection.weight": torch.ones(2, 2)}), place)
    assert "may be under net.encoder.: give its prefix" in refused(place)
    found = read_authors_checkpoint(place, "net.encoder")
    assert found.tensors.keys() == encoder().state_dict().keys()
    assert found.unknown == ("net",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.pop(TENSOR), f"missing {TENSOR}"),
        (lambda t: t.pop("class_token"), "missing class_token"),
        (lambda t: t.pop("mlp_head.1.weight"), "missing mlp_head.1.weight"),
        (lambda t: t.update({"transformer.norm.weight": torch.ones(2)}), "unexpected transformer"),
        (lambda t: t.update({TENSOR: torch.ones(9, 128)}), rf"{TENSOR} is \(9, 128\), .*\(20, 128"),
        (lambda t: t.update(time_pos_encoding=torch.ones(12, 128)), "time_pos_encoding is"),
        (lambda t: t[TENSOR][3, 3].fill_(math.nan), f"{TENSOR} holds NaN or infinity"),
        (lambda t: t["class_token"].fill_(math.inf), "class_token holds NaN or infinity"),
        (lambda t: t[TENSOR].zero_(), f"{TENSOR} is all zero"),
        (lambda t: t.update({TENSOR: t[TENSOR].int()}), f"{TENSOR} is torch.int32, not floating"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    place: Path, change: Callable[[Tensors], object], problem: str
) -> None:
    tensors = under("")
    change(tensors)
    state = {f"TS_ViT.{name}": tensor for name, tensor in tensors.items()}
    found = read_authors_checkpoint(saved(lightning(state), place))
    card, _ = imported_card(found, "mine", {}, BANDS)
    with pytest.raises(CheckpointError, match=problem):
        encoder_of_weights(card.architecture, found.tensors, str(place))


def test_a_card_of_another_architecture_names_the_tensors(place: Path) -> None:
    found = read_authors_checkpoint(saved(lightning(under("TS_ViT.")), place))
    stated = {"architecture": {"feedforward": 256, "depth": 3}}
    card, _ = imported_card(found, "mine", stated, BANDS)
    with pytest.raises(CheckpointError) as caught:
        encoder_of_weights(card.architecture, found.tensors, str(place))
    assert "missing transformer.layers.2.linear1.bias" in str(caught.value)
    assert "layers.0.linear1.weight is (20, 128), the card's architecture needs (256, 128)" in str(
        caught.value
    )


class Trap:
    """What runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


@pytest.mark.parametrize("kind", ["system", "open", "exec", "eval"])
@pytest.mark.parametrize("where", ["state_dict", "hyper_parameters", "callbacks", "the whole"])
def test_what_would_run_is_refused_and_not_run(place: Path, kind: str, where: str) -> None:
    ran = place.with_name("ran")
    code = f"open({str(ran)!r}, 'w')"
    trap = {
        "system": Trap(os.system, f"touch {ran}"),
        "open": Trap(open, str(ran), "w"),
        "exec": Trap(builtins.exec, code),
        "eval": Trap(builtins.eval, code),
    }[kind]
    content: Any = lightning(under("TS_ViT."))
    if where == "the whole":
        content = trap
    elif where == "hyper_parameters":
        content[where]["args"].inner = argparse.Namespace(trap=trap)  # in what is allowed
    else:
        content[where]["TS_ViT.class_token"] = trap
    saved(content, place)
    said = refused(place)
    assert "which timesen never does; nothing was run" in said
    assert kind in said
    assert not ran.exists()
    # The trap is a real one: whoever unpickles it is caught.
    torch.load(place, weights_only=False)
    assert ran.exists()


def test_an_allowed_class_calls_nothing_when_it_is_filled(place: Path) -> None:
    # A Namespace whose state brings a __setstate__ of its own, filled twice.
    ran = place.with_name("ran")
    twice = b"\x80\x02cargparse\nNamespace\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb"
    text = f"touch {ran}".encode()
    twice += b"X" + len(text).to_bytes(4, "little") + text + b"b."
    pickle.loads(twice)
    assert ran.exists()
    ran.unlink()
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("archive/data.pkl", twice)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    assert "posix.system" in refused(place) or "os.system" in refused(place)
    assert not ran.exists()


@pytest.mark.parametrize("thing", [Path("folder"), TimeSenClipArchitecture(), math.sqrt])
def test_other_classes_are_refused_with_a_way_out(place: Path, thing: Any) -> None:
    content = lightning(under("TS_ViT."), hyper_parameters={"thing": thing})
    said = refused(saved(content, place))
    assert "holds more than tensors" in said
    assert type(thing).__name__ in said or thing.__name__ in said
    # What the message tells to do, where one trusts the file, works.
    other = place.with_name("weights.pt")
    torch.save(torch.load(place, map_location="cpu", weights_only=False)["state_dict"], other)
    assert read_authors_checkpoint(other).prefix == "TS_ViT."


def cut(content: bytes, keep: float) -> bytes:
    return content[: int(len(content) * keep)]


def flipped(content: bytes) -> bytes:
    """One bit of a weight changed, which torch.load does not notice."""
    bits = encoder().state_dict()[TENSOR].numpy().tobytes()
    at = content.index(bits) + 100
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda _: b"",
        lambda _: b"no archive at all" * 99,
        lambda _: pickle.dumps(Trap(os.system, "touch ran")),
        *(lambda content, keep=keep: cut(content, keep) for keep in (0.01, 0.5, 0.9, 0.9999)),
    ],
)
def test_damaged_files_are_refused(place: Path, damage: Callable[[bytes], bytes]) -> None:
    saved(lightning(under("TS_ViT.")), place)
    place.write_bytes(damage(place.read_bytes()))
    said = refused(place)
    assert "damaged" in said or "cut off" in said


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_archives_of_another_kind_are_refused(place: Path) -> None:
    for name, content in (("notes.txt", b"words"), ("archive/data.pkl", b"\x80\x02garbage")):
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr(name, content)
        assert "nothing that can be read without running it" in refused(place)
    torch.save(under(""), place, _use_new_zipfile_serialization=False)
    assert "older than PyTorch 1.6" in refused(place)
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)  # type: ignore[no-untyped-call]
    place.write_bytes(script.getvalue())
    assert "nothing that can be read without running it" in refused(place)
    place.unlink()
    assert "no such file" in refused(place)
    assert "no such file" in refused(place.parent)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"state_dict": {}}, "no state dict in it"),
        ({"state_dict": 5}, "no state dict in it"),
        ({"epoch": 3, "optimizer_states": []}, "no state dict in it"),
        ([torch.ones(3)], "no state dict in it"),
        (torch.ones(3), "no state dict in it"),
        ({"transformer.a\x1b[31m": torch.ones(3)}, "names that are no names"),
        ({3: torch.ones(3)}, "names that are no names"),
        (lightning(torch.nn.Linear(2, 2).state_dict()), "no TimeSenCLIP encoder .*it holds bias"),
        (
            lightning(
                {
                    f"model.{k}": t
                    for k, t in torch.nn.Transformer(8, 2, batch_first=True).state_dict().items()
                }
            ),
            "no TimeSenCLIP encoder .* and [0-9]+ more",
        ),
        (under("") | {"class_token": torch.ones(1).to_sparse()}, "not all values .* class_token"),
        (under("") | {"class_token": torch.empty(9, device="meta")}, "not all .* class_token"),
        (under("") | {"class_token": torch.ones(1).expand(10**12)}, "not all .* class_token"),
    ],
)
def test_files_of_something_else_are_refused(place: Path, content: Any, problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        read_authors_checkpoint(saved(content, place))


def compressed(place: Path) -> None:
    """The same archive, compressed: some hundred times as large when it is read."""
    saved({"state_dict": under("") | {"beside": torch.zeros(10**7)}}, place)
    plain = zipfile.ZipFile(io.BytesIO(place.read_bytes()))
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as small:
        for name in plain.namelist():
            small.writestr(name, plain.read(name))


def shared(place: Path) -> None:
    """Many tensors of one memory, whose copies would take two gigabytes."""
    once = torch.zeros(200_000)
    saved(under("") | {f"transformer.{number}": once for number in range(3000)}, place)


def endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (compressed, "that grows to 4"),
        (shared, "tensors of 2,4.*, in a file of"),
        (endless, "not a file"),
    ],
)
def test_files_that_grow_when_they_are_read_are_refused_at_once(
    place: Path, write: Callable[[Path], None], problem: str
) -> None:
    write(place)
    start = time.process_time()
    with pytest.raises(CheckpointError, match=problem):
        read_authors_checkpoint(place)
    assert time.process_time() - start < 2
