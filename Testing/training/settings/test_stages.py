"""Configurations: the committed files load, and mistakes are named before anything heavy starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from Testing.folders import ROOT
from Testing.refusals import refusal
from Training.settings.command_line import from_command_line
from Training.settings.stages import SAMED_CT, PretrainBase, ReferenceUNet, Stage1Expert, Stage1Teacher, Stage2

CONFIGS = ROOT / "Training" / "configs"
KINDS = {"tiny_base": PretrainBase, "base": PretrainBase, "base_2": PretrainBase, "expert": Stage1Expert,
         "expert_2": Stage1Expert, "unet": ReferenceUNet,
         "expert_distilled": Stage1Expert, "teacher_simclr": Stage1Teacher, "teacher_mae": Stage1Teacher,
         "stage1_simclr": Stage1Teacher, "stage1_mae": Stage1Teacher, "stage1_image": Stage1Expert,
         "stage1_patch": Stage1Expert, "stage1_pixel": Stage1Expert}


COMMITTED = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "grids")  # see test_grid


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_committed_configurations_load(path: Path) -> None:
    kind = KINDS.get(path.stem.split("-")[0], Stage2)
    config = from_command_line(kind, ["--config", str(path)])
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert config.optimisation.steps == written["optimisation"]["steps"]
    assert str(config.output) == written["output"]
    if "preprocessing" in written:
        assert config.preprocessing.crop == written["preprocessing"]["crop"]


def test_test_cases_are_refused_in_stage_1() -> None:
    with pytest.raises(ValueError, match="test cases must not be seen"):
        Stage1Expert(Path("o"), Path("m"), Path("b"), "image", splits=("train", "test"))


@pytest.mark.parametrize(("fields", "message"), [
    ({"supervision": "student"}, "Unknown supervision 'student'; choose from scratch, teacher, labels"),
    ({"supervision": "labels"}, "supervision is labels and organs are none; name organs with labels"),
    ({"organs": ("liver",)}, "supervision is scratch and organs are liver; name organs with labels, and with"),
    ({"level": "pixel", "supervision": "teacher"}, "pixel level has no teacher"),
    ({"dice_weight": 1.5}, "dice_weight is 1.5"),
])
def test_impossible_experts_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stage1Expert(Path("o"), Path("m"), Path("b"), **({"level": "image"} | fields))


def test_teachers_too_do_not_see_test_cases() -> None:
    with pytest.raises(ValueError, match="test cases must not be seen"):
        Stage1Teacher(Path("o"), Path("m"), "mae_tiny", splits=("test",))


def experts(**fields: Any) -> Stage1Expert:
    return Stage1Expert(Path("o"), Path("m"), Path("b"), **({"level": "image"} | fields))


def stage2(**fields: Any) -> Stage2:
    return Stage2(Path("o"), Path("m"), Path("b"), "samed", **fields)


def test_an_unknown_level_is_refused_and_every_known_one_taken() -> None:
    assert [experts(level=level).level for level in ("image", "patch", "pixel")] == ["image", "patch", "pixel"]
    assert refusal(lambda: experts(level="voxel")) == "Unknown level 'voxel'; choose from image, patch, pixel."


def test_teachers_teach_images_and_patches_and_pixels_go_without() -> None:
    assert experts(level="image", supervision="teacher").supervision == "teacher"
    assert experts(level="patch", supervision="teacher").supervision == "teacher"
    assert experts(level="pixel", supervision="scratch").supervision == "scratch"


@pytest.mark.parametrize("name", ["mask_ratio", "dice_weight"])
def test_a_share_lies_between_nothing_and_all(name: str) -> None:
    assert [getattr(experts(**{name: share}), name) for share in (0, 1)] == [0, 1]
    assert refusal(lambda: experts(**{name: -0.01})) == f"{name} is -0.01; it must be between 0 and 1."
    assert refusal(lambda: experts(**{name: 1.01})) == f"{name} is 1.01; it must be between 0 and 1."


def test_a_teacher_masks_a_share_too() -> None:
    assert Stage1Teacher(Path("o"), Path("m"), "mae_tiny", mask_ratio=1.0).mask_ratio == 1
    assert "mask_ratio is 1.5" in refusal(lambda: Stage1Teacher(Path("o"), Path("m"), "mae_tiny", mask_ratio=1.5))


def test_every_stage_but_the_second_refuses_a_grid() -> None:
    grid = replace(SAMED_CT, spacing=1.5)
    for build in (lambda: experts(preprocessing=grid), lambda: ReferenceUNet(Path("o"), Path("m"), grid),
                  lambda: Stage1Teacher(Path("o"), Path("m"), "mae_tiny", preprocessing=grid)):
        assert refusal(build).startswith("This stage sees slices, not a grid of 1.5 mm; set preprocessing.spacing to 0")
    assert stage2(preprocessing=grid).preprocessing.spacing == 1.5


def test_all_slices_may_be_used_but_neither_none_nor_more() -> None:
    assert [stage2(fraction=fraction).fraction for fraction in (0.01, 1.0)] == [0.01, 1.0]
    for fraction in (0.0, -0.1, 1.01):
        message = refusal(lambda fraction=fraction: stage2(fraction=fraction))
        assert message == f"fraction is {fraction}; it must be above 0 and at most 1."


def test_a_depth_of_zero_keeps_the_rows_own() -> None:
    assert [stage2(depth=depth).depth for depth in (0, 1)] == [0, 1]
    assert refusal(lambda: stage2(depth=-1)) == "depth is -1; it must be at least 1, or 0 for the row's own."


def test_one_expert_alone_is_named_by_its_level() -> None:
    assert [stage2(alone=level).alone for level in ("", "image", "patch", "pixel")] == ["", "image", "patch", "pixel"]
    assert refusal(lambda: stage2(alone="voxel")) == "Unknown level 'voxel' in alone; choose from image, patch, pixel."


def test_losses_are_taken_at_one_of_two_resolutions() -> None:
    assert [stage2(loss_resolution=name).loss_resolution for name in ("low", "full")] == ["low", "full"]
    assert refusal(lambda: stage2(loss_resolution="mid")) == "Unknown loss_resolution 'mid'; choose from low, full."


@pytest.mark.parametrize(("kind", "name", "given"), [
    (Stage1Teacher, "teacher", lambda path: {"teacher": "mae_tiny", "weights": str(path)}),
    (Stage1Expert, "expert", lambda path: {"base": path, "level": "image"}),
    (Stage1Expert, "expert", lambda path: {"base": Path("b"), "level": "image", "teacher": str(path)}),
    (Stage2, "model", lambda path: {"base": path, "variant": "samed"}),
    (Stage2, "model", lambda path: {"base": Path("b"), "variant": "samora", "experts": (Path("a"), path)})])
def test_a_run_does_not_write_over_what_it_reads(kind: Any, name: str, given: Any, tmp_path: Path) -> None:
    path, link = tmp_path / f"{name}.safetensors", tmp_path / "link.safetensors"
    path.write_bytes(b"weights")
    link.symlink_to(path)
    for read in (path, link):
        assert "would be replaced" in refusal(lambda read=read: kind(tmp_path, tmp_path / "m", **given(read)))
    assert kind(tmp_path / "other", tmp_path / "m", **given(path)).output == tmp_path / "other"


@pytest.mark.parametrize("workers", [0, -1, 257, 10**9])
def test_phantoms_are_made_by_some_processes(workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers is {workers}; it must be 1 to 256"):
        PretrainBase(output=Path("o"), workers=workers)
