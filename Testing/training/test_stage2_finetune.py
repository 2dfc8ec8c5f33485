"""Stage 2: the task of each row, what is trained of it, from which experts and classes, and what the card says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from SAMoraLib.card import Card, read_card, reference_to
from SAMoraLib.checkpoint import load_model, save_expert, save_model
from SAMoraLib.exchange.convert import import_published, read_published
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import part_of
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import EXPERTS, Fusion, get_variant
from Testing.refusals import refusal
from Testing.small import CT, small_model
from Testing.training.conftest import Cases
from Testing.training.small_run import log_of
from Training import stage2_finetune
from Training.data.boxes import BoxDataset
from Training.data.epochs import EpochDataset
from Training.data.patches import PatchDataset
from Training.data.slices import SliceDataset, build_cache
from Training.objectives.hierarchical import HierarchicalObjective
from Training.objectives.prompted import PromptedObjective
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.optimisation import Optimisation
from Training.settings.stages import Stage2
from Training.stage2_finetune import (
    finetune,
    make_model,
    make_task,
    make_variant,
    paired_channels,
    weights_of_classes,
)

LABELS = get_label_set("chaos_mr")  # liver, right kidney, left kidney, spleen
QUICK = Optimisation(steps=1, batch_size=2, accelerator="cpu", devices=1)
GRID = Preprocessing("CT", "hu_window", -125, 275, "body", 32, spacing=10.0)


def config(variant: str, folder: Path = Path("o"), **changes: Any) -> Stage2:
    return Stage2(folder / "run", folder / "manifest.json", folder / "base.safetensors", variant,
                  **({"encoder": "tiny", "preprocessing": CT, "cache": folder / "cache",
                      "optimisation": QUICK} | changes))


@pytest.fixture
def data(cases: Cases, tmp_path: Path) -> Path:
    for number, case in enumerate("abc"):
        cases.add(case, seed=number)
    cases.manifest(tmp_path, train="a,b", validation="c")
    write_base(tmp_path)
    return tmp_path


def write_base(folder: Path, classes: Sequence[str] = ("air", "muscle", "liver")) -> Path:
    torch.manual_seed(0)
    model = build_model(get_variant("sam", "tiny"), 2, 32)
    save_model(folder / "base.safetensors", model, Card("base", "b", model.variant, 32, training={"classes": classes}))
    return folder / "base.safetensors"


def write_experts(folder: Path, *levels: str) -> tuple[Path, ...]:
    for level in levels:
        variant = get_variant("samed", "tiny", name=f"expert_{level}", adapters=(level,))
        save_expert(folder / f"{level}.safetensors", build_model(variant, 1, 32), level,
                    Card("expert", level, variant, 32, base=reference_to(folder / "base.safetensors")))
    return tuple(folder / f"{level}.safetensors" for level in levels)


@pytest.mark.parametrize(("row", "objective", "samples"), [
    ("samed", SegmentationObjective, SliceDataset), ("samora", SegmentationObjective, SliceDataset),
    ("h_sam", HierarchicalObjective, EpochDataset), ("ma_sam", SegmentationObjective, SliceDataset),
    ("ma_sam_box", PromptedObjective, BoxDataset),
])
def test_a_decoder_has_its_task(cases: Cases, tmp_path: Path, row: str, objective: type, samples: type) -> None:
    cases.add("a")
    manifest = cases.manifest(tmp_path, train="a")
    slices = SliceDataset(build_cache(manifest, manifest.cases, CT, tmp_path / "cache"))
    settings = config(row, ce_weight=0.3, dice_weight=0.6, loss_resolution="full")
    task, seen = make_task(settings, small_model(row), slices, (1.0, 2.0, 3.0, 4.0, 5.0))
    assert type(task) is objective and type(seen) is samples
    loss: Any = task.loss
    assert (loss.ce_weight, loss.dice_weight) == (0.3, 0.6)
    assert (loss.class_weights is None) == (row == "ma_sam_box"), "one target has no classes to weigh"
    assert getattr(task, "resolution", "full") == "full"


def test_a_grid_is_seen_in_cubes(cases: Cases, tmp_path: Path) -> None:
    cases.add("a")
    manifest = cases.manifest(tmp_path, train="a")
    slices = SliceDataset(build_cache(manifest, manifest.cases, GRID, tmp_path / "cache"))
    _, samples = make_task(config("tp_mamba", preprocessing=GRID), small_model("tp_mamba"), slices, ())
    assert isinstance(samples, PatchDataset) and samples.side == 32


def test_a_rows_own_parts_and_depth_are_kept_unless_others_are_named() -> None:
    row, own = get_variant("ma_sam", "tiny"), make_variant(config("ma_sam", rank=7))
    assert (own.trained, own.depth, own.rank, own.encoder) == (row.trained, 5, 7, "tiny")
    other = make_variant(config("ma_sam", trained=("decoder",), depth=3))
    assert (other.trained, other.depth) == (("decoder",), 3)


def test_a_fusion_is_for_rows_that_have_one() -> None:
    fusion = Fusion(width=32)
    assert make_variant(config("samora", fusion=fusion)).fusion == fusion
    assert make_variant(config("samed", fusion=fusion)).fusion is None


def test_an_expert_alone_is_the_only_adapter_and_nothing_is_fused() -> None:
    assert make_variant(config("samora")).adapters == EXPERTS
    for row in ("samora", "h_samora"):
        alone = make_variant(config(row, alone="patch"))
        assert alone.adapters == ("patch",) and alone.fusion is None
    assert "'samed' has no experts of which patch could be alone" in refusal(
        lambda: make_variant(config("samed", alone="patch")))


def test_a_row_with_boxes_is_validated_afterwards() -> None:
    often = Optimisation(validate_every=5)
    assert make_variant(config("ma_sam_box")).takes_boxes
    assert make_variant(config("ma_sam", optimisation=often)).name == "ma_sam"
    assert "'ma_sam_box' is prompted with boxes and cannot be validated while it is trained" in refusal(
        lambda: make_variant(config("ma_sam_box", optimisation=often)))


@pytest.mark.parametrize(("row", "alone", "levels", "needed"), [
    ("samed", "", ("image",), "none"), ("samora", "", (), "image, patch, pixel"), ("samora", "", EXPERTS, ""),
    ("samora", "patch", ("patch",), ""), ("samora", "patch", (), "patch"), ("samed", "", (), ""),
])
def test_a_row_is_given_its_experts_and_no_others(tmp_path: Path, row: str, alone: str, levels: tuple[str, ...],
                                                  needed: str) -> None:
    write_base(tmp_path)
    settings = config(row, tmp_path, alone=alone, experts=write_experts(tmp_path, *levels))
    if not needed:
        assert isinstance(make_model(settings, LABELS), SegmentationModel)
    elif row == "samed":
        assert "does not fit samed" in refusal(lambda: make_model(settings, LABELS))
    else:
        assert refusal(lambda: make_model(settings, LABELS)) == (
            f"The variant '{row}' needs the experts {needed}, got none; give one file of each with --experts.")


@pytest.mark.parametrize("row", ["samed", "h_sam"])
def test_a_plain_lora_of_another_program_starts_a_row(tmp_path: Path, row: str) -> None:
    """From its file to the first step: imported as an expert, and its pairs are the row's."""
    base = write_base(tmp_path)
    pairs = {f"w_{half}_{index:03d}": torch.randn((4, 128) if half == "a" else (128, 4))
             for index in range(12) for half in "ab"}
    torch.save({"state_dict": pairs}, tmp_path / "lora.pth")
    import_published(read_published(tmp_path / "lora.pth", image_size=32), base, tmp_path / "ours.safetensors")
    settings = config(row, tmp_path, experts=(tmp_path / "ours.safetensors",))
    qkv = make_model(settings, LABELS).image_encoder.blocks[5].attn.qkv
    assert torch.equal(qkv.lora["default"]["v"].b, pairs["w_b_011"])
    import_published(read_published(tmp_path / "lora.pth"), base, tmp_path / "large.safetensors")
    message = refusal(lambda: make_model(config(row, tmp_path, experts=(tmp_path / "large.safetensors",)), LABELS))
    assert "slices of 1024 x 1024 pixels, this model takes 32 x 32; import it with --image-size 32." in message


def test_what_a_row_trains_requires_a_gradient_and_nothing_else(tmp_path: Path) -> None:
    write_base(tmp_path)
    model = make_model(config("samed", tmp_path, trained=("lora", "transformer")), LABELS)
    trained = {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    fixed = {part_of(name) for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert trained == {"lora", "transformer"} and fixed == {"base", "decoder", "prompt"}
    assert model.num_classes == 4 and model.image_size == 32


def test_organs_and_background_begin_as_the_bases_classes(tmp_path: Path) -> None:
    write_base(tmp_path)
    classes = {"background": "muscle", "spleen": "liver", "liver": "liver"}
    assert paired_channels(config("samed", tmp_path, classes=classes), LABELS) == {0: 1, 4: 2, 1: 2}
    assert paired_channels(config("samed", tmp_path), LABELS) == {}


def test_classes_that_nobody_knows_are_named(tmp_path: Path) -> None:
    write_base(tmp_path)
    message = refusal(lambda: paired_channels(config("samed", tmp_path, classes={"liver": "bone"}), LABELS))
    assert "knows no class 'bone' that liver could start from; choose from air, muscle, liver." in message
    with pytest.raises(ValueError, match="heart"):
        paired_channels(config("samed", tmp_path, classes={"heart": "liver"}), LABELS)


def test_metas_files_name_no_classes(tmp_path: Path) -> None:
    """And are not read for it."""
    settings = Stage2(tmp_path, tmp_path, tmp_path / "sam_vit_b.pth", "samed", classes={"liver": "liver"})
    assert "choose from none, it names no classes." in refusal(lambda: paired_channels(settings, LABELS))


def test_a_model_begins_with_the_classes_that_are_named(tmp_path: Path) -> None:
    write_base(tmp_path)
    plain = make_model(config("sam", tmp_path), LABELS).state_dict()["mask_decoder.mask_tokens.weight"]
    base = make_model(config("sam", tmp_path, classes={"spleen": "liver", "liver": "liver"}), LABELS)
    tokens = base.state_dict()["mask_decoder.mask_tokens.weight"]
    assert torch.equal(tokens[1], tokens[4]) and not torch.equal(tokens[1], tokens[2])
    assert not torch.equal(plain[1], plain[4])


def test_weights_are_given_by_name_and_are_one_otherwise() -> None:
    assert weights_of_classes(config("samed"), LABELS) == ()
    assert weights_of_classes(config("samed", class_weights={"left_kidney": 2.5, "background": 0.5}), LABELS) == (
        0.5, 1.0, 1.0, 2.5, 1.0)
    assert weights_of_classes(config("samed", class_weights={"liver": 0.25}), LABELS) == (1.0, 0.25, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["liver", "background"])
def test_a_weight_that_is_not_positive_is_refused(name: str, weight: float) -> None:
    message = refusal(lambda: weights_of_classes(config("samed", class_weights={name: weight}), LABELS))
    assert message == f"The class weight of {name} is {weight}; give a number above 0."


def test_a_weight_of_an_organ_that_is_not_labelled_is_refused() -> None:
    with pytest.raises(ValueError, match="heart"):
        weights_of_classes(config("samed", class_weights={"heart": 2.0}), LABELS)


def test_a_run_writes_a_model_that_says_where_it_comes_from(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experts = write_experts(data, *EXPERTS)
    finetune(config("samora", data, experts=experts, fraction=0.5, licence="MIT", description="Small."))
    path = data / "run" / "model.safetensors"
    model, card = load_model(path, base=data / "base.safetensors")
    assert (card.kind, card.name, card.licence, card.description) == ("model", "run", "MIT", "Small.")
    assert list(card.parents) == [reference_to(expert) for expert in experts]
    assert card.base == reference_to(data / "base.safetensors") and card.preprocessing == CT and card.labels == LABELS
    assert card.training == {"script": "stage2_finetune", "steps": 1, "batch_size": 2, "slices": 6, "fraction": 0.5,
                             "cases": 2}
    assert [line["step"] for line in log_of(data / "run")] == [1]
    whole = sum(parameter.numel() for parameter in model.parameters())
    said = capsys.readouterr().out
    assert said.startswith("'samora' trains ") and f" of {whole:,} parameters." in said


def test_a_run_is_named_as_it_is_told(data: Path) -> None:
    finetune(config("samed", data, name="mine"))
    assert read_card(data / "run" / "model.safetensors").name == "mine"


def test_one_process_of_several_speaks_and_writes(data: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(stage2_finetune, "make_fabric", lambda _: SimpleNamespace(is_global_zero=False))
    monkeypatch.setattr(stage2_finetune, "fit", lambda *call: calls.append(call))
    finetune(config("samed", data, class_weights={"liver": 3.0}, optimisation=Optimisation(validate_every=2)))
    assert capsys.readouterr().out == ""
    assert [path.name for path in (data / "run").iterdir()] == ["config.yaml"]
    [(_, objective, slices, _, _, validate)] = calls
    assert objective.loss.class_weights.tolist() == [1, 3, 1, 1, 1] and len(slices) == 12 and validate is not None


def test_what_is_refused_leaves_no_folder(data: Path) -> None:
    (data / "base.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        finetune(config("samed", data))
    assert not (data / "run").exists()
