"""Published files imported, used and exported again; and what is refused, with no file left behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from SAMoraLib.card import Card, read_card
from SAMoraLib.checkpoint import load_experts, load_model, save_expert, save_model, save_tensors
from SAMoraLib.cli import main
from SAMoraLib.exchange.convert import (
    FOURIER,
    Published,
    export_checkpoint,
    import_published,
    is_rounded_alike,
    read_published,
    same_bytes,
    told_on_export,
)
from SAMoraLib.exchange.systems import SYSTEMS
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.system.files import file_sha256
from SAMoraLib.variants import EncoderSize, get_variant
from Testing.golden import Golden, assert_golden, fixtures
from Testing.library.exchange import test_h_sam, test_ma_sam, test_samed
from Testing.published_files import IMAGE_SIZE, WHOLE, adapted_model, published_tensors, write_sam
from Testing.refusals import refusal
from Testing.small import SIZE, small_card, small_model, small_variant

Tensors = dict[str, Tensor]
EVERY_SYSTEM = pytest.mark.parametrize("system", SYSTEMS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sam(tmp_path_factory.mktemp("base") / "sam_small.safetensors")


def write(path: Path, tensors: Tensors) -> Path:
    torch.save(tensors, path) if path.suffix == ".pth" else save_file(tensors, path)
    return path


def published(system: str, base: Path, folder: Path, dtype: torch.dtype = torch.float32, ending: str = ".pth"
              ) -> tuple[Published, Tensors]:
    tensors = published_tensors(system, adapted_model(system, base))
    tensors = {key: value.to(dtype) for key, value in tensors.items()}
    return read(write(folder / f"epoch_159{ending}", tensors), system), tensors


def read(path: Path, system: str) -> Published:
    return read_published(path, image_size=None if system == "h_sam" else IMAGE_SIZE, encoder_size=SIZE)


@EVERY_SYSTEM
@pytest.mark.parametrize(("ending", "dtype"), [(".pth", torch.float32), (".safetensors", torch.bfloat16)])
def test_import_then_export_gives_the_files_own_bytes(system: str, ending: str, dtype: torch.dtype, base: Path,
                                                      tmp_path: Path) -> None:
    found, tensors = published(system, base, tmp_path, dtype, ending)
    import_published(found, base, tmp_path / "ours.safetensors")
    back = tmp_path / f"back{ending}"
    written = export_checkpoint(tmp_path / "ours.safetensors", system, back)
    again = torch.load(back, weights_only=True) if ending == ".pth" else load_file(back)
    assert set(again) == set(written) == set(tensors)
    assert all(same_bytes(again[key], value) and value.dtype == dtype for key, value in tensors.items())
    assert abs(back.stat().st_size - found.path.stat().st_size) < 0.05 * found.path.stat().st_size + 4096


@pytest.mark.parametrize("system", WHOLE)
def test_the_checkpoint_is_the_model(system: str, base: Path, tmp_path: Path) -> None:
    model, (found, _) = adapted_model(system, base), published(system, base, tmp_path)
    card = import_published(found, base, tmp_path / "ours.safetensors")
    loaded, read_back = load_model(tmp_path / "ours.safetensors", base=base)
    assert card == read_back
    expected = model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    assert (card.kind, card.base["sha256"]) == ("model", file_sha256(base))
    assert dict(card.parents[0]) == {"name": "epoch_159.pth", "sha256": file_sha256(found.path)}
    assert card.training["imported_from"] == SYSTEMS[system].title
    assert card.labels.names == ("class_1", "class_2", "class_3")


def test_pairs_alone_become_an_expert(base: Path, tmp_path: Path) -> None:
    found, _ = published("sam_lora", base, tmp_path)
    card = import_published(found, base, tmp_path / "ours.safetensors")
    assert (card.kind, card.name, card.labels) == ("expert", "default", None)
    model = small_model("samed", image_size=IMAGE_SIZE)
    load_experts(model, [tmp_path / "ours.safetensors"], base)
    assert torch.equal(model.image_encoder.blocks[1].attn.qkv.lora["default"]["v"].b, found.tensors["w_b_003"])


def imported_golden(golden: Golden, adapters: Tensors, size: EncoderSize, tmp_path: Path) -> SegmentationModel:
    path = write(tmp_path / "published.pth", adapters)
    found = read_published(path, image_size=golden.meta["constructor"]["img_size"], encoder_size=size)
    base = golden.folder / "base_sam_checkpoint.safetensors"
    import_published(found, base, tmp_path / "ours.safetensors")
    return load_model(tmp_path / "ours.safetensors", base=base)[0]


@pytest.mark.parametrize("golden", fixtures("samed"))
def test_samed_gives_the_published_codes_numbers(golden: Golden, tmp_path: Path) -> None:
    size = test_samed.published_model(golden).variant.size
    model = imported_golden(golden, golden.weights("lora_checkpoint"), size, tmp_path)
    with torch.no_grad():
        prediction = model(golden.io["input_1ch"].unsqueeze(2))
    assert_golden(prediction.low_res_logits.squeeze(2), golden.io["low_res_logits"])
    assert_golden(prediction.logits.squeeze(2), golden.io["masks"])


@pytest.mark.parametrize("golden", fixtures("masam"))
def test_ma_sam_gives_the_published_codes_numbers(golden: Golden, tmp_path: Path) -> None:
    size = test_ma_sam.published_model(golden).variant.size
    model = imported_golden(golden, golden.weights("adapt_checkpoint"), size, tmp_path)
    with torch.no_grad():
        prediction = model(golden.io["input_1ch"].transpose(1, 2))
    assert_golden(prediction.low_res_logits.transpose(1, 2).flatten(0, 1), golden.io["low_res_logits"])


@pytest.mark.parametrize("golden", fixtures("masam"))
def test_an_ma_sam_of_another_scale_is_one_whose_v_is_that_much_larger(golden: Golden, tmp_path: Path) -> None:
    """The published numbers, of a file whose V is halved and whose scale is therefore 2."""
    size, adapters = test_ma_sam.published_model(golden).variant.size, golden.weights("adapt_checkpoint")
    adapters["image_encoder.FacTv.weight"] = adapters["image_encoder.FacTv.weight"] / 2
    path, base = write(tmp_path / "halved.pth", adapters), golden.folder / "base_sam_checkpoint.safetensors"
    found = read_published(path, None, golden.meta["constructor"]["img_size"], size, fact_scale=2.0)
    assert found.report()["fact_scale"] == 2
    import_published(found, base, tmp_path / "ours.safetensors")
    model, card = load_model(tmp_path / "ours.safetensors", base=base)
    assert card.variant.low_rank_scale == 2
    with torch.no_grad():
        prediction = model(golden.io["input_1ch"].transpose(1, 2))
    assert_golden(prediction.low_res_logits.transpose(1, 2).flatten(0, 1), golden.io["low_res_logits"])


def test_an_exported_file_is_the_same_whoever_writes_it_where(base: Path, tmp_path: Path) -> None:
    found, _ = published("samed", base, tmp_path)
    shutil.copy(base, tmp_path)
    import_published(found, tmp_path / base.name, tmp_path / "ours.safetensors")
    for name in ("a.pth", "b.pth"):
        export_checkpoint(tmp_path / "ours.safetensors", "samed", tmp_path / name)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_a_scale_is_told_on_the_way_out(base: Path, tmp_path: Path) -> None:
    _, tensors = published("ma_sam", base, tmp_path)
    found = read_published(tmp_path / "epoch_159.pth", None, IMAGE_SIZE, SIZE, fact_scale=0.5)
    import_published(found, base, tmp_path / "ours.safetensors")
    assert all(same_bytes(value, tensors[key]) for key, value in
               export_checkpoint(tmp_path / "ours.safetensors", "ma_sam", tmp_path / "out.pth").items())
    (sentence,) = told_on_export(tmp_path / "ours.safetensors", "ma_sam")
    assert sentence.endswith("run MA-SAM with s=0.5.")
    published("samed", base, tmp_path)
    message = refusal(lambda: read_published(tmp_path / "epoch_159.pth", None, IMAGE_SIZE, SIZE, fact_scale=2.0))
    assert "SAMed has no FacT that a scale could multiply; leave --fact-scale out." in message


@pytest.mark.parametrize("golden", fixtures("hsam"))
def test_h_sam_gives_the_published_codes_numbers(golden: Golden, tmp_path: Path) -> None:
    """Its class attention, a no-op, is narrower than that of published files."""
    size = test_h_sam.published_model(golden).variant.size
    model = imported_golden(golden, golden.weights("lora_checkpoint"), size, tmp_path)
    assert model.variant.cm_widths == (28, 16)
    with torch.no_grad():
        classes = model((golden.io["input_u8"] / 255).unsqueeze(2)).low_res_logits.argmax(1).squeeze(1)
    assert (classes == golden.io["pred_stage3"]).float().mean() > 0.999
    theirs = export_checkpoint(tmp_path / "ours.safetensors", "h_sam", tmp_path / "back.pth",
                               golden.folder / "base_sam_checkpoint.safetensors")
    assert all(same_bytes(theirs[key], value) for key, value in golden.weights("lora_checkpoint").items())


# What is refused.


@EVERY_SYSTEM
def test_without_a_base_one_sentence_names_it(system: str, base: Path, tmp_path: Path) -> None:
    found, _ = published(system, base, tmp_path)
    message = refusal(lambda: import_published(found, None, tmp_path / "ours.safetensors"))
    assert f"holds only what {SYSTEMS[system].title} trains" in message
    assert "--base sam_vit_b_01ec64.pth" in message


def other_encoder(path: Path) -> Path:
    return write_sam(path, size=replace(SIZE, depth=3))


def cut(path: Path) -> Path:
    write_sam(path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda path: write_sam(path, seed=2), f"their '{FOURIER}' differs, which no training changes; give the file that "
     "it was made from, sam_vit_b_01ec64.pth."),
    (other_encoder, "holds a ViT of 3 blocks of width 32, vit_b has 2 of width 32"),
    (cut, "download or export it again"),
    (lambda path: write(path, {"layer.weight": torch.ones(2)}), "a ViT of 0 blocks"),
])
def test_another_base_is_refused_and_nothing_written(make: Callable[[Path], Path], sentence: str, base: Path,
                                                     tmp_path: Path) -> None:
    found, wrong = published("samed", base, tmp_path)[0], make(tmp_path / "wrong.safetensors")
    before = sorted(tmp_path.iterdir())
    message = refusal(lambda: import_published(found, wrong, tmp_path / "ours.safetensors"))
    assert sentence in message and "wrong.safetensors" in message
    assert sorted(tmp_path.iterdir()) == before


@EVERY_SYSTEM
@pytest.mark.parametrize(("change", "sentence"), [
    (lambda value: value * float("nan"), "values that are NaN or infinite as float32, in 1 of its tensors, first"),
    (lambda value: value / 0, "values that are NaN or infinite as float32, in 1 of its tensors, first"),
    (lambda value: value.to(torch.complex64), "holds complex numbers (complex64) in"),
    (lambda value: value.to(torch.int64), "holds integers")])
def test_a_published_file_of_other_than_finite_numbers_is_refused(system: str, change: Callable[[Tensor], Tensor],
                                                                  sentence: str, base: Path, tmp_path: Path) -> None:
    _, tensors = published(system, base, tmp_path)
    key = list(tensors)[1]
    message = refusal(lambda: read(write(tmp_path / "bad.pth", tensors | {key: change(tensors[key])}), system))
    assert sentence in message and f"'{key}'" in message


def wrapped(tensors: Tensors) -> dict:
    return {"state_dict": {f"module.{key}": value for key, value in tensors.items()}, "epoch": 159}


@EVERY_SYSTEM
def test_what_a_training_program_wraps_a_file_in_is_taken_off(system: str, base: Path, tmp_path: Path) -> None:
    _, tensors = published(system, base, tmp_path)
    for name, content in {"a.pth": wrapped(tensors), "b.pth": tensors | {"epoch": 3}, "c.pth": {"model": tensors},
                          "d.pth": {f"model._orig_mod.{key}": value for key, value in tensors.items()}}.items():
        torch.save(content, tmp_path / name)
        found = read(tmp_path / name, system)
        assert set(found.tensors) == set(tensors)
        assert all(same_bytes(found.tensors[key], value) for key, value in tensors.items())


@pytest.mark.parametrize(("dtype", "file_dtype"), [
    (torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32, torch.float16),
    (torch.bfloat16, torch.float16), (torch.float64, torch.float32)])
def test_a_base_in_another_precision_or_wrapped_is_the_base(dtype: torch.dtype, file_dtype: torch.dtype, base: Path,
                                                            tmp_path: Path) -> None:
    found, _ = published("samed", base, tmp_path, file_dtype)
    state = {key: value.to(dtype) for key, value in load_file(base).items()}
    torch.save(wrapped(state), tmp_path / "half.pth")
    import_published(found, tmp_path / "half.pth", tmp_path / "ours.safetensors")
    loaded, _ = load_model(tmp_path / "ours.safetensors")
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())
    key = "image_encoder.neck.0.weight"
    assert torch.equal(loaded.state_dict()[key], state[key].float())
    state[FOURIER] = state[FOURIER] * 1.02
    torch.save(state, tmp_path / "half.pth")
    message = refusal(lambda: import_published(found, tmp_path / "half.pth", tmp_path / "ours.safetensors"))
    assert f"their '{FOURIER}' differs" in message


NUMBERS = torch.tensor([1.0, -3.1415927, 512.3, 2e-4])
NEXT = torch.nextafter(NUMBERS, torch.tensor(999.0))


@pytest.mark.parametrize(("one", "other", "alike"), [
    (NUMBERS, NUMBERS.clone(), True), (NUMBERS, NEXT, False), (NUMBERS, NUMBERS[:3], False),
    (NUMBERS, NUMBERS[:, None], False), (NUMBERS, NUMBERS.half(), True), (NUMBERS.bfloat16(), NUMBERS, True),
    (NUMBERS.half(), NUMBERS.bfloat16(), True), (NUMBERS, NUMBERS.half() * 1.004, False),
    (NUMBERS.bfloat16() * 1.03, NUMBERS, False), (NUMBERS, torch.tensor([1.0, -3.1415927, 512.3, 0]).half(), False),
    (torch.tensor([1e-8, 1]), torch.tensor([0, 1.0]).half(), True),
    (torch.tensor([1e-8, 1]), torch.tensor([0, 1.0]), False),
], ids=range(12))
def test_numbers_are_alike_to_the_precision_that_they_are_stored_in(one: Tensor, other: Tensor, alike: bool) -> None:
    assert is_rounded_alike(one, other) == is_rounded_alike(other, one) == alike


@pytest.mark.parametrize(("other", "same"), [
    (torch.tensor([1.0, float("nan"), 0.0]), True), (torch.tensor([1.0, float("nan"), -0.0]), False),
    (torch.tensor([[1.0, float("nan"), 0.0]]), False), (torch.tensor([1.0, float("nan"), 0.0]).half(), False)])
def test_bytes_are_compared_and_not_numbers(other: Tensor, same: bool) -> None:
    assert same_bytes(torch.tensor([1.0, float("nan"), 0.0]), other) == same


def test_two_versions_of_one_tensor_are_refused(base: Path, tmp_path: Path) -> None:
    _, tensors = published("h_sam", base, tmp_path)
    key = "prompt_encoder2.no_mask_embed.weight"
    found = read(write(tmp_path / "b.pth", tensors | {key: tensors[key] + 1}), "h_sam")
    message = refusal(lambda: import_published(found, base, tmp_path / "ours.safetensors"))
    assert f"two versions of one tensor, one of them '{key}'" in message


@pytest.mark.parametrize("output", ["ours.pth", "epoch_159.safetensors"])
def test_an_output_that_cannot_be(output: str, base: Path, tmp_path: Path) -> None:
    found, _ = published("samed", base, tmp_path, ending=".safetensors")
    before = file_sha256(found.path)
    refusal(lambda: import_published(found, base, tmp_path / output))
    assert file_sha256(found.path) == before


def test_nothing_that_is_read_is_written_over(base: Path, tmp_path: Path) -> None:
    found, _ = published("samed", base, tmp_path, ending=".safetensors")
    own_base = Path(shutil.copy(base, tmp_path))
    ours = tmp_path / "ours.safetensors"
    import_published(found, own_base, ours)
    read = (found.path, own_base, ours)
    before = [path.read_bytes() for path in read]
    link = tmp_path / "link.safetensors"
    for path in read:
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        for output in (path, link, Path(os.path.relpath(path))):
            message = refusal(lambda output=output: export_checkpoint(ours, "samed", output))
            assert "would be replaced; name another output." in message
            if path != ours:
                message = refusal(lambda output=output: import_published(found, own_base, output))
                assert "would be replaced; name another output." in message
    assert [path.read_bytes() for path in read] == before


def test_a_checkpoint_of_our_own_training_is_exported_with_what_its_base_has(base: Path, tmp_path: Path) -> None:
    """Training leaves out what it did not change, such as the prompt encoder's points: published files hold them."""
    model = adapted_model("samed", base)
    shutil.copy(base, tmp_path)
    card = replace(small_card(model.variant), labels=SYSTEMS["samed"].labels(3))
    save_model(tmp_path / "ours.safetensors", model, card, tmp_path / base.name)
    assert FOURIER not in load_file(tmp_path / "ours.safetensors")
    written = export_checkpoint(tmp_path / "ours.safetensors", "samed", tmp_path / "out.pth")
    assert all(same_bytes(written[key], value) for key, value in published_tensors("samed", model).items())


@pytest.mark.parametrize(("row", "format_", "sentence"), [
    ("samora", "samed", "its adapters is ('image', 'patch', 'pixel'), SAMed's is ('default',)"),
    ("ma_sam", "samed", "its low rank is 'fact', SAMed's is 'lora'"),
    ("samed", "samed_s", "its decoder lora is False, SAMed_s's is True"),
    ("h_sam", "h_sam", "its cm attention is 'paper', H-SAM's is 'released'"),
    ("tp_mamba", "sam_lora", "its low rank is 'lora_gelu'"),
])
def test_rows_that_the_published_code_cannot_run(row: str, format_: str, sentence: str, tmp_path: Path) -> None:
    card = Card("model", "small", small_variant(row), IMAGE_SIZE, SYSTEMS["samed"].labels(3))
    save_file({}, tmp_path / "ours.safetensors", {"samora_card": json.dumps(card.to_json())})
    message = refusal(lambda: export_checkpoint(tmp_path / "ours.safetensors", format_, tmp_path / "out.pth"))
    assert sentence in message
    assert not (tmp_path / "out.pth").exists()


def test_an_expert_is_no_model(base: Path, tmp_path: Path) -> None:
    model = small_model("samed")
    save_expert(tmp_path / "e.safetensors", model, "default", Card("expert", "default", model.variant, IMAGE_SIZE))
    message = refusal(lambda: export_checkpoint(tmp_path / "e.safetensors", "samed", tmp_path / "out.pth"))
    assert "of kind 'expert'" in message
    assert len(export_checkpoint(tmp_path / "e.safetensors", "sam_lora", tmp_path / "out.pth")) == 8


def test_what_a_file_was_recognised_as(base: Path, tmp_path: Path) -> None:
    found, tensors = published("ma_sam", base, tmp_path, torch.float16)
    assert found.report() == {
        "file": str(tmp_path / "epoch_159.pth"), "system": "MA-SAM", "variant": "ma_sam", "encoder": "vit_b",
        "rank": 32, "classes": 3, "image_size": IMAGE_SIZE, "image_size_from": "option",
        "labels": ["class_1", "class_2", "class_3"], "preprocessing": "CT, hu_window -200..250",
        "orientation": "rows to posterior, columns to right",
        "tensors": len(tensors), "stored_as": ["float16"], "fact_scale": 1}
    pairs, _ = published("sam_lora", base, tmp_path)
    report = pairs.report()
    assert report["labels"] is None and report["preprocessing"] is None and report["classes"] is None


# The command line, on the tiny encoder.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    base = write_sam(folder / "base.safetensors", size=None, encoder="tiny")
    write(folder / "lora.pth", published_tensors("samed_s", adapted_model("samed_s", base, None, "tiny")))
    return folder


def samora(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_import_and_export(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    assert samora("import", tiny / "lora.pth", "--base", tiny / "base.safetensors", "--output", ours, "--image-size",
                  80, "--labels", "liver_tumour") == 1
    assert "names 2 organs and the file has 3 classes" in capsys.readouterr().err
    assert not ours.exists()
    assert samora("import", tiny / "lora.pth", "--base", tiny / "base.safetensors", "--output", ours, "--image-size",
                  80, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["system"], report["encoder"], report["rank"], report["classes"]) == ("SAMed_s", "tiny", 4, 3)
    assert report["stored_as"] == ["float32"]
    assert read_card(ours).preprocessing.image_size == 80
    capsys.readouterr()
    assert samora("export", ours, back, "--format", "samed_s") == 0
    assert capsys.readouterr().err == ""
    one, other = (torch.load(path, weights_only=True) for path in (back, tiny / "lora.pth"))
    assert one.keys() == other.keys() and all(same_bytes(one[key], other[key]) for key in one)


def test_slices_that_the_published_code_does_not_make_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                               ) -> None:
    model = build_model(get_variant("ma_sam", "tiny"), 4, IMAGE_SIZE)
    save_model(tmp_path / "ours.safetensors", model, small_card(model.variant))
    assert samora("export", tmp_path / "ours.safetensors", tmp_path / "out.pth", "--format", "ma_sam") == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "MA-SAM's own preparation does not make: modality CT, not MR;" in said
    assert "rows posterior, not anterior; columns left, not right;" in said


def test_an_output_is_refused_before_anything_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lora.safetensors").write_bytes(b"not read")
    lora = tmp_path / "lora.safetensors"
    assert samora("import", lora, "--output", lora) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "is a file that is read here" in said.err
    assert lora.read_bytes() == b"not read"


def test_the_report_comes_before_the_base_is_asked_for(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tiny.iterdir())
    assert samora("import", tiny / "lora.pth") == 1
    said = capsys.readouterr()
    assert "system           SAMed_s" in said.out
    assert said.err.count("\n") == 1 and "with --base FILE." in said.err
    assert sorted(tiny.iterdir()) == before


class Code:
    """Makes a file when it is unpickled without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"echo executed > '{self.marker}'",)


def test_a_pickle_that_carries_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"w_a_000": torch.ones(4, 768), "payload": Code(tmp_path / "marker")}, tmp_path / "lora.pth")
    assert samora("import", tmp_path / "lora.pth", "--base", tmp_path / "none.pth") == 1
    assert "carries code" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["lora.pth"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_other_files(content: bytes, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"a{ending}").write_bytes(content)
    assert samora("import", tmp_path / f"a{ending}") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"a{ending}" in said
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert samora("import", tmp_path / "none.pth") == 1
    assert "There is no weights file" in capsys.readouterr().err


def test_a_format_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        samora("export", tmp_path / "a", tmp_path / "b", "--format", "medsam")
    assert stop.value.code == 2


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
def test_a_name_that_steers_a_terminal_or_is_very_long_goes_onto_no_card(base: Path, tmp_path: Path) -> None:
    found, output = published("samed", base, tmp_path)[0], tmp_path / "ours.safetensors"
    for name in ("\x1b[31mred\n.pth", f"{'a' * 200}.pth"):
        card = import_published(replace(found, path=found.path.rename(tmp_path / name)), base, output)
        assert read_card(output) == card and card.name.isprintable() and card.description.isprintable()
        found = replace(found, path=tmp_path / name)


def test_a_card_whose_fields_do_not_fit_each_other_is_one_sentence(tmp_path: Path) -> None:
    """A decoder that doubles its patches' side where a patch is a single pixel."""
    variant = get_variant("h_sam", encoder_size=replace(SIZE, patch_size=1), cm_attention="released")
    save_tensors(tmp_path / "m.safetensors", {}, small_card(variant))
    for use in (lambda: export_checkpoint(tmp_path / "m.safetensors", "h_sam", tmp_path / "o.pth"),
                lambda: load_model(tmp_path / "m.safetensors")):
        assert "m.safetensors' speaks of cannot be made" in refusal(use)
    assert not (tmp_path / "o.pth").exists()
