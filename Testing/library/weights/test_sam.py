"""Meta's files as the start of a variant at another image size and class count."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.variants import VARIANTS, EncoderSize
from SAMoraLib.weights.sam import ADDED, CLASS_DEPENDENT, load_base, start_classes
from SAMoraLib.weights.tensors import read_safetensors, read_tensors
from Testing.refusals import refusal
from Testing.small import SIZE, is_sam2, small_model, small_variant

BASE_IMAGE_SIZE = 48


def metas_state() -> dict[str, Tensor]:
    """Four mask tokens, as Meta's; and the pixel statistics that old files carry."""
    state = dict(small_model("sam", num_classes=3, image_size=BASE_IMAGE_SIZE, seed=1).state_dict())
    return state | {"pixel_mean": torch.rand(3, 1, 1), "pixel_std": torch.rand(3, 1, 1)}


def fresh(name: str = "samed", image_size: int = 32, size: EncoderSize = SIZE) -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(small_variant(name, size), 2, image_size)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_kinds_of_files_are_read(suffix: str, tmp_path: Path) -> None:
    path, state = tmp_path / f"sam{suffix}", metas_state()
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    read = read_tensors(path)
    assert set(read) == set(state)
    assert all(torch.equal(read[key], value) for key, value in state.items())


def test_parameters_are_read_as_plain_tensors(tmp_path: Path) -> None:
    """SAMed's files hold nn.Parameter."""
    torch.save({"w_a_000": torch.nn.Parameter(torch.ones(2))}, tmp_path / "lora.pth")
    assert not read_tensors(tmp_path / "lora.pth")["w_a_000"].requires_grad


class Code:
    """Runs a command when it is unpickled without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"echo executed > '{self.marker}'",)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))],
                         ids=["torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(write, tmp_path: Path) -> None:
    path, marker = tmp_path / "sam.pth", tmp_path / "marker"
    write({"image_encoder.pos_embed": Code(marker)}, path)
    message = refusal(lambda: read_tensors(path))
    assert "carries code" in message and "weights_only" not in message
    assert not marker.exists()


def damaged(whole: bytes) -> list[bytes]:
    flipped = [whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :] for at in range(0, min(len(whole), 400), 7)]
    cut = [whole[:length] for length in range(1, len(whole), 211)]
    return [b"", b"\x80", b"\x00" * 64, b"garbage " * 9, b"e\x86", *cut, *flipped]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused_with_one_sentence(suffix: str, tmp_path: Path) -> None:
    path, state = tmp_path / f"sam{suffix}", {"a": torch.ones(9, 9), "b": torch.zeros(3)}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    refused = 0
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        try:
            read_tensors(path)
        except ValueError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert refused >= 10


@pytest.mark.parametrize("content", [{"model": {"a": 1}}, [torch.ones(1)], {"a": 3}, torch.ones(1)])
def test_other_contents_are_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "sam.pth")
    assert "does not hold a flat table of named tensors" in refusal(lambda: read_tensors(tmp_path / "sam.pth"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no weights file '.*sam\.pth'"):
        read_tensors(tmp_path / "sam.pth")


def test_a_cut_safetensors_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(99)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "download or export it again" in refusal(lambda: read_safetensors(path))


@pytest.mark.parametrize("name", [name for name in VARIANTS if not is_sam2(name)])
def test_what_a_base_has_is_loaded_and_the_rest_left(name: str) -> None:
    model, state = fresh(name, BASE_IMAGE_SIZE), metas_state()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loaded = load_base(model, state)
    for key, value in model.state_dict().items():
        random = any(part in key for part in (*CLASS_DEPENDENT, *ADDED))
        assert (key in loaded) != random
        assert torch.equal(value, before[key] if random else state[key]), key


@pytest.mark.parametrize("image_size", [32, 24, BASE_IMAGE_SIZE, 72])
def test_tables_take_the_models_size(image_size: int) -> None:
    model, state, grid = fresh(image_size=image_size), metas_state(), image_size // 8
    load_base(model, state)
    loaded = model.state_dict()
    expected = F.interpolate(state["image_encoder.pos_embed"].permute(0, 3, 1, 2), (grid, grid), mode="bilinear",
                             align_corners=False).permute(0, 2, 3, 1)
    assert torch.equal(loaded["image_encoder.pos_embed"], expected)
    for axis in "hw":
        windows, whole = (f"image_encoder.blocks.{block}.attn.rel_pos_{axis}" for block in (0, 1))
        assert torch.equal(loaded[windows], state[windows])
        assert torch.equal(loaded[whole], F.interpolate(state[whole][None, None], (2 * grid - 1, 8), mode="bilinear",
                                                        align_corners=False)[0, 0])


def test_the_given_state_is_not_changed() -> None:
    state = metas_state()
    kept = {key: value.clone() for key, value in state.items()}
    load_base(fresh(), state)
    assert set(state) == set(kept) and all(torch.equal(state[key], value) for key, value in kept.items())


@pytest.mark.parametrize("key", ["image_encoder.blocks.1.attn.rel_pos_h", "image_encoder.neck.0.weight",
                                 "prompt_encoder.no_mask_embed.weight", "mask_decoder.iou_token.weight"])
def test_a_missing_tensor_is_named(key: str) -> None:
    state = metas_state()
    del state[key]
    assert f"lacks '{key}'" in refusal(lambda: load_base(fresh(), state))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_base_in_another_precision_is_kept_in_float32(dtype: torch.dtype) -> None:
    model, state = fresh(), {key: value.to(dtype) for key, value in metas_state().items()}
    load_base(model, state)
    as_stored = fresh()
    load_base(as_stored, {key: value.float() for key, value in state.items()})
    expected = as_stored.state_dict()
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, expected[key])


@pytest.mark.parametrize(("key", "value", "sentence"), [
    ("image_encoder.pos_embed", torch.ones(6, 32), "'image_encoder.pos_embed' is (6, 32) in the base file and (1, 4"),
    ("image_encoder.blocks.1.attn.rel_pos_h", torch.ones(3), "is (3,) in the base file"),
    ("image_encoder.neck.0.weight", torch.ones(32, 32, 1, 1, dtype=torch.int64), "is (32, 32, 1, 1) of int64 in the"),
    ("image_encoder.pos_embed", torch.tensor(1.0), "a ViT of 2 blocks of width 0")])
def test_tables_of_other_kinds_are_named(key: str, value: Tensor, sentence: str) -> None:
    assert sentence in refusal(lambda: load_base(fresh(), metas_state() | {key: value}))


@pytest.mark.parametrize(("size", "message"), [
    (EncoderSize(32, 3, 4, (1,), window_size=3, patch_size=8, out_chans=32, decoder_heads=4), "a ViT of 2 blocks of "
     "width 32, vit_b has 3 of width 32"),
    (EncoderSize(48, 2, 4, (1,), window_size=3, patch_size=8, out_chans=32, decoder_heads=4), "a ViT of 2 blocks of "
     "width 32, vit_b has 2 of width 48"),
])
def test_another_encoder_is_named(size: EncoderSize, message: str) -> None:
    assert message in refusal(lambda: load_base(fresh(size=size), metas_state()))


def test_a_file_of_something_else_is_refused() -> None:
    assert "a ViT of 0 blocks of width 0" in refusal(lambda: load_base(fresh(), {"layer.weight": torch.ones(2)}))


def test_another_shape_is_named() -> None:
    state = metas_state() | {"image_encoder.neck.0.weight": torch.ones(16, 32, 1, 1)}
    message = refusal(lambda: load_base(fresh(), state))
    assert "'image_encoder.neck.0.weight' is (16, 32, 1, 1) in the base file and (32, 32, 1, 1)" in message


@pytest.mark.parametrize("name", ["samed", "h_sam", "ma_sam"])
def test_classes_start_from_those_of_the_base(name: str) -> None:
    """MA-SAM's hypernetworks end in fewer channels than SAM's: that layer alone keeps its random start."""
    model, state = fresh(name), metas_state()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    start_classes(model, state, {2: 1})
    own, mlp = model.state_dict(), "mask_decoder.output_hypernetworks_mlps.{}.layers.{}.weight"
    assert torch.equal(own["mask_decoder.mask_tokens.weight"][2], state["mask_decoder.mask_tokens.weight"][1])
    assert torch.equal(own["mask_decoder.mask_tokens.weight"][1], before["mask_decoder.mask_tokens.weight"][1])
    assert torch.equal(own[mlp.format(2, 1)], state[mlp.format(1, 1)])
    assert torch.equal(own[mlp.format(1, 1)], before[mlp.format(1, 1)])
    last, fits = mlp.format(2, 2), name != "ma_sam"
    assert torch.equal(own[last], state[mlp.format(1, 2)] if fits else before[last])
