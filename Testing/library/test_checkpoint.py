"""Our checkpoints: what is in the file, what comes back, and what is said of files that do not fit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from SAMoraLib.card import read_card, read_header
from SAMoraLib.checkpoint import (
    file_sha256,
    find_base,
    load_experts,
    load_model,
    merge,
    reference_to,
    save_model,
    save_tensors,
)
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import own_keys, part_of
from SAMoraLib.variants import get_variant
from SAMoraLib.weights.sam import load_base
from SAMoraLib.weights.tensors import read_tensors
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import SIZE, small_card, small_model, small_variant, write_bare, write_base

IMAGE = torch.rand(1, 1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
ROWS = pytest.mark.parametrize("name", ["samed", "samed_s", "samora"])


@dataclass
class Trained:
    """A base file, and beside it a model trained on it with its checkpoint."""

    folder: Path
    model: SegmentationModel

    @property
    def base(self) -> Path:
        return self.folder / "base.safetensors"

    @property
    def path(self) -> Path:
        return self.folder / "model.safetensors"


def train(folder: Path, name: str) -> Trained:
    """What stage 2 leaves: the row's parts have changed, the rest is the base's."""
    base = write_base(folder / "base.safetensors")
    torch.manual_seed(0)
    model = build_model(small_variant(name), 4, 32).eval()
    load_base(model, read_tensors(base))
    for number, (key, parameter) in enumerate(model.named_parameters()):
        if part_of(key) in model.variant.trained:
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.data.add_(0.1 * noise)
    trained = Trained(folder, model)
    save_model(trained.path, model, small_card(model.variant), base)
    return trained


@pytest.fixture
def samed(tmp_path: Path) -> Trained:
    return train(tmp_path, "samed")


def assert_same_weights(ours: SegmentationModel, other: SegmentationModel) -> None:
    state, expected = ours.state_dict(), other.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def stored_keys(path: Path) -> set[str]:
    return set(read_header(path)) - {"__metadata__"}


@torch.no_grad()
def logits(model: SegmentationModel) -> Tensor:
    return model(IMAGE).low_res_logits


def test_a_loaded_model_does_not_change_with_its_file(samed: Trained, tmp_path: Path) -> None:
    merge(samed.path, tmp_path / "whole.safetensors")
    loaded, _ = load_model(tmp_path / "whole.safetensors")
    with (tmp_path / "whole.safetensors").open("r+b") as file:
        file.seek(-64, os.SEEK_END)
        file.write(bytes(64))
    assert_same_weights(loaded, samed.model)


@ROWS
def test_round_trip_to_the_last_bit(name: str, tmp_path: Path) -> None:
    trained = train(tmp_path, name)
    loaded, card = load_model(trained.path)
    assert_same_weights(loaded, trained.model)
    assert_close(logits(loaded), logits(trained.model))
    assert not loaded.training
    assert card == replace(small_card(trained.model.variant), base=reference_to(trained.base))


@ROWS
def test_a_file_without_base_holds_everything(name: str, tmp_path: Path) -> None:
    model, path = small_model(name), tmp_path / "deeper" / "model.safetensors"
    save_model(path, model, small_card(model.variant))
    assert stored_keys(path) == set(model.state_dict())
    loaded, card = load_model(path)
    assert_same_weights(loaded, model)
    assert card.base is None


@ROWS
def test_a_file_with_base_holds_what_differs(name: str, tmp_path: Path) -> None:
    trained = train(tmp_path, name)
    parts = {*trained.model.variant.trained, "lora"}  # the experts are in the file, though stage 2 froze them
    buffers = {key for key in trained.model.state_dict() if "gaussian" in key}
    assert stored_keys(trained.path) == set(own_keys(trained.model, parts)) - buffers


def test_a_base_is_a_model_where_it_has_labels(tmp_path: Path) -> None:
    model, path = small_model("sam"), tmp_path / "base.safetensors"
    save_model(path, model, small_card(model.variant, kind="base"))
    assert_same_weights(load_model(path)[0], model)


def test_the_base_may_lie_elsewhere(samed: Trained, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "sam.safetensors"
    elsewhere.parent.mkdir()
    samed.base.rename(elsewhere)
    with pytest.raises(FileNotFoundError, match=r"needs its base weights 'base\.safetensors'.*with --base\."):
        load_model(samed.path)
    assert_same_weights(load_model(samed.path, base=elsewhere)[0], samed.model)


def test_metas_own_file_may_be_the_base(tmp_path: Path) -> None:
    """A ``.pth``, as published."""
    base, model = tmp_path / "sam_vit.pth", small_model("samed")
    torch.save(dict(small_model("sam", num_classes=3, image_size=48, seed=5).state_dict()), base)
    load_base(model, read_tensors(base))
    save_model(tmp_path / "model.safetensors", model, small_card(model.variant), base)
    assert not any(key.startswith("image_encoder.neck") for key in stored_keys(tmp_path / "model.safetensors"))
    assert_same_weights(load_model(tmp_path / "model.safetensors")[0], model)


def test_another_base_is_refused(samed: Trained) -> None:
    write_base(samed.base, seed=6)
    message = refusal(lambda: load_model(samed.path))
    assert "is not the base that 'model.safetensors' was trained on" in message
    assert read_card(samed.path).base["sha256"][:12] in message  # type: ignore[index]


def test_a_self_contained_file_has_no_base(tmp_path: Path) -> None:
    assert "self-contained" in refusal(lambda: find_base(tmp_path / "m", small_card(small_variant("samed"))))


def test_sha256_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@ROWS
@pytest.mark.parametrize("half", [False, True])
def test_merge_gives_a_file_that_stands_alone(name: str, half: bool, tmp_path: Path) -> None:
    trained = train(tmp_path, name)
    output = tmp_path / "alone" / "merged.safetensors"
    card = merge(trained.path, output, half=half)
    assert read_card(output) == card
    assert (card.base, card.parents) == (None, (reference_to(trained.base),))
    trained.base.unlink()
    loaded, _ = load_model(output)
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())
    expected = logits(trained.model)
    if not half:
        assert_same_weights(loaded, trained.model)
        assert_close(logits(loaded), expected)
        return
    assert_close(logits(loaded), expected, tolerance=0.03)


def test_half_is_half_the_size(tmp_path: Path) -> None:
    model = small_model("samed", size=replace(SIZE, embed_dim=128))
    save_model(tmp_path / "whole.safetensors", model, small_card(model.variant))
    merge(tmp_path / "whole.safetensors", tmp_path / "half.safetensors", half=True)
    sizes = {}
    for name in ("whole", "half"):
        path = tmp_path / f"{name}.safetensors"
        sizes[name] = path.stat().st_size - int.from_bytes(path.read_bytes()[:8], "little") - 8
    assert sizes["half"] * 2 == sizes["whole"]


def test_values_that_half_precision_cannot_hold_are_not_halved(tmp_path: Path) -> None:
    model = small_model("samed")
    model.state_dict()["mask_decoder.iou_token.weight"][0, 0] = 70_000
    save_model(tmp_path / "whole.safetensors", model, small_card(model.variant))
    message = refusal(lambda: merge(tmp_path / "whole.safetensors", tmp_path / "half.safetensors", half=True))
    assert "'mask_decoder.iou_token.weight' that float16 cannot hold; leave out --half" in message
    assert not (tmp_path / "half.safetensors").exists()
    merge(tmp_path / "whole.safetensors", tmp_path / "again.safetensors")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_in_the_checkpoint_and_in_its_base(bad: float, tmp_path: Path) -> None:
    trained = train(tmp_path, "samed")
    card, state = read_card(trained.path), load_file(trained.path)
    state["mask_decoder.iou_token.weight"][0, :3] = bad
    save_tensors(trained.path, state, card)
    sentence = "holds 3 values that are NaN or infinite as float32, in 1 of its tensors, first "
    for use in (lambda: load_model(trained.path), lambda: merge(trained.path, tmp_path / "merged.safetensors")):
        assert f"model.safetensors' {sentence}'mask_decoder.iou_token.weight'" in refusal(use)
    base = load_file(trained.base)
    base["image_encoder.neck.0.weight"][0, :3] = bad
    save_tensors(trained.base, base, read_card(trained.base))
    kept = {key: value.nan_to_num(posinf=0) for key, value in state.items()}
    save_tensors(trained.path, kept, replace(card, base=reference_to(trained.base)))
    assert f"base.safetensors' {sentence}'image_encoder.neck.0.weight'" in refusal(lambda: load_model(trained.path))
    assert not (tmp_path / "merged.safetensors").exists()


def test_a_copy_never_replaces_what_it_is_made_from(samed: Trained, tmp_path: Path) -> None:
    linked, hard = tmp_path / "linked.safetensors", tmp_path / "hard.safetensors"
    linked.symlink_to(samed.path)
    hard.hardlink_to(samed.base)
    moved = shutil.copy(samed.base, tmp_path / "copied.safetensors")
    before = {path: path.read_bytes() for path in (samed.path, samed.base)}
    for output in (samed.path, samed.base, linked, hard, Path(os.path.relpath(samed.path))):
        assert "read here and would be replaced" in refusal(lambda output=output: merge(samed.path, output))
    message = refusal(lambda: merge(samed.path, moved))
    assert "is a file that 'model.safetensors' was made from and would be replaced" in message
    assert {path: path.read_bytes() for path in before} == before and linked.is_symlink()


def test_a_copy_never_replaces_an_expert_that_it_was_made_from(samed: Trained, tmp_path: Path) -> None:
    expert = tmp_path / "expert.safetensors"
    save_tensors(expert, {}, small_card(samed.model.variant))
    card = replace(read_card(samed.path), parents=(reference_to(expert),))
    save_tensors(samed.path, load_file(samed.path), card)
    assert "expert.safetensors' is a file that" in refusal(lambda: merge(samed.path, expert))
    assert read_card(expert).base is None
    merge(samed.path, tmp_path / "merged.safetensors")
    merge(samed.path, tmp_path / "merged.safetensors")  # an earlier copy may be replaced


def test_a_copy_is_named_as_checkpoints_are(samed: Trained, tmp_path: Path) -> None:
    assert "not 'merged.pth'; name the output so" in refusal(lambda: merge(samed.path, tmp_path / "merged.pth"))
    (tmp_path / "folder.safetensors").mkdir()
    assert "is a folder" in refusal(lambda: merge(samed.path, tmp_path / "folder.safetensors"))


@pytest.mark.parametrize("interruption", [OSError("No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [b"the old file", None])
def test_an_interrupted_write_leaves_no_half_file(interruption: BaseException, old: bytes | None, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    if old is not None:
        path.write_bytes(old)
    write_bytes = Path.write_bytes

    def fail_half_way(self: Path, content: bytes) -> int:
        write_bytes(self, content[: len(content) // 2])
        raise interruption

    monkeypatch.setattr(Path, "write_bytes", fail_half_way)
    with pytest.raises(type(interruption)):
        save_tensors(path, {"a": torch.ones(9)}, small_card(small_variant("samed")))
    assert list(tmp_path.iterdir()) == ([path] if old is not None else [])
    assert old is None or path.read_bytes() == old


def cuts(whole: bytes) -> Iterator[bytes]:
    yield from (whole[:n] for n in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1))
    yield whole + b"\x00"
    yield b"\x00" * len(whole)
    for position in (0, 3, 8, 9, 60, 200):
        yield whole[:position] + bytes([whole[position] ^ 0x5A]) + whole[position + 1 :]


def test_truncated_and_corrupted_files_are_refused_with_one_sentence(samed: Trained) -> None:
    whole = samed.path.read_bytes()
    for content in cuts(whole):
        samed.path.write_bytes(content)
        assert "again" in refusal(lambda: load_model(samed.path))


def test_a_header_that_does_not_fit_its_tensors_is_refused(samed: Trained) -> None:
    """The card can be read, the tensors cannot: another layer notices, the sentence is the same."""
    whole = samed.path.read_bytes()
    damages = {b'"F32"': b'"I16"', b'"data_offsets":[0,': b'"data_offsets":[1,', b'"shape":[': b'"shApe":['}
    for old, new in damages.items():
        samed.path.write_bytes(whole.replace(old, new, 1))
        read_card(samed.path)
        assert "download or export it again" in refusal(lambda: load_model(samed.path))


def test_a_base_is_named_plainly(samed: Trained) -> None:
    card = read_card(samed.path)
    for name in ("../base.safetensors", "/etc/base.safetensors", "a/b"):
        damaged = replace(card, base={"name": name, "sha256": card.base["sha256"]})
        assert "is no plain file name" in refusal(lambda damaged=damaged: find_base(samed.path, damaged))


def test_a_damaged_base_is_refused(samed: Trained) -> None:
    samed.base.write_bytes(samed.base.read_bytes()[:-5])
    assert "its sha256 differs" in refusal(lambda: load_model(samed.path))


@pytest.mark.parametrize(("change", "message"), [
    (lambda state: state.pop("mask_decoder.iou_token.weight") is None, "lacks 1 tensors of its own variant, first "
     "'mask_decoder.iou_token.weight'"),
    (lambda state: state.update(extra=torch.ones(1)), "has unknown 1 tensors of its own variant, first 'extra'"),
    (lambda state: state.update({"mask_decoder.iou_token.weight": torch.ones(1, 5)}), "has another shape for 1"),
    (lambda state: state.update({key: state[key].int() for key in ["mask_decoder.iou_token.weight"]}),
     "has integers for 1 tensors of its own variant, first 'mask_decoder.iou_token.weight'"),
])
def test_tensors_that_do_not_fit_the_card_are_named(change: Any, message: str, tmp_path: Path) -> None:
    model, path = small_model("samed"), tmp_path / "m.safetensors"
    state = dict(model.state_dict())
    change(state)
    save_tensors(path, state, small_card(model.variant))
    assert message in refusal(lambda: load_model(path))


def test_a_card_of_impossible_sizes_is_refused(tmp_path: Path) -> None:
    model, path = small_model("samed"), tmp_path / "m.safetensors"
    for size in ({"num_heads": 0}, {"num_heads": 5}, {"decoder_heads": 3}, {"depth": 9}, {"embed_dim": 64}):
        data = small_card(model.variant).to_json()
        data["variant"]["encoder_size"] |= size
        refusal(lambda: load_model(write_bare(path, json.dumps(data))))  # noqa: B023  (called at once)


def test_saving_takes_the_tensors_from_any_layout(tmp_path: Path) -> None:
    tensor = torch.arange(12.0, requires_grad=True).reshape(3, 4).T
    save_tensors(tmp_path / "t.safetensors", {"t": tensor}, small_card(small_variant("samed")))
    assert torch.equal(read_tensors(tmp_path / "t.safetensors")["t"], tensor)


@pytest.mark.parametrize("change", [
    {"rank": 1024}, {"depth": 512}, {"adapters": ["image", "patch", "pixel", "default"]}, {"encoder": "vit_h"},
    {"decoder": "hierarchical"}, {"decoder": "conv3d"}, {"decoder": "progressive"}, {"depth_adapter": "convolution"},
    {"depth_adapter": "triplane_mamba"}, {"depth_adapter": "plane_mamba", "planes": []}, {"low_rank": "fact"},
    {"decoder": "high_res", "encoder": "hiera_l"}, {"input_scale": 8}, {"cm_widths": [65536, 65536]},
    {"cm_attention": "released", "decoder": "hierarchical"}, {"prompt": "box"}, {"backbone": "timm"}])
@pytest.mark.parametrize("has_base", [False, True])
def test_a_card_that_promises_more_than_its_file_holds_takes_no_memory(change: dict[str, Any], has_base: bool,
                                                                       tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever model it speaks of, only the header is looked at; neither file is read."""
    base = write_base(tmp_path / "base.safetensors")
    card = small_card(get_variant("samed")).to_json() | {"base": reference_to(base) if has_base else None}
    path = write_bare(tmp_path / "m.safetensors", json.dumps(card | {"variant": card["variant"] | change}))
    monkeypatch.setattr("SAMoraLib.checkpoint.read_safetensors", None)
    monkeypatch.setattr("SAMoraLib.checkpoint.read_tensors", None)
    assert str(path) in refusal(lambda: load_model(path))


def test_an_expert_is_looked_at_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(small_variant("samora"), 4, 32)
    path = tmp_path / "expert.safetensors"
    save_tensors(path, {"a": torch.ones(3)}, small_card(model.variant, "expert", "image"))
    monkeypatch.setattr("SAMoraLib.checkpoint.read_safetensors", None)
    assert "does not fit samora" in refusal(lambda: load_experts(model, [path]))


@pytest.mark.parametrize("name", [".", "..", "../base.safetensors", "..\\base.safetensors", "C:base.safetensors",
                                  "/dev/zero", "", "a\x00b", "\x1b[2J", "a" * 300])
def test_a_base_never_leads_out_of_the_checkpoints_folder(name: str, samed: Trained) -> None:
    """Whoever made the card: the search refuses, and no such card is written."""
    card = replace(read_card(samed.path), base={"name": name, "sha256": "0" * 64})
    assert "is no plain file name" in refusal(lambda: find_base(samed.path, card))
    before = samed.path.read_bytes()
    assert "The card's base is" in refusal(lambda: save_tensors(samed.path, {}, card))
    assert samed.path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_nobody_waits_for_a_base_that_is_a_pipe(samed: Trained) -> None:
    samed.base.unlink()
    os.mkfifo(samed.base)
    with pytest.raises(FileNotFoundError, match="needs its base weights"):
        load_model(samed.path)
