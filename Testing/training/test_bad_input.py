"""Stage 2 refuses what it cannot use in one sentence, and leaves no folder, and no half file, behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.card import Card, reference_to
from SAMoraLib.checkpoint import save_expert, save_model
from SAMoraLib.model import build_model
from SAMoraLib.variants import ENCODER_SIZES, EXPERTS, get_variant
from Testing.slicer.full_disk import full_disk
from Training.settings.command_line import command
from Training.settings.stages import Stage2
from Training.stage2_finetune import finetune

SIZE = 80


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    model = build_model(get_variant("sam", "tiny"), 1, SIZE)
    save_model(path, model, Card("base", "base", model.variant, SIZE))
    return path


def expert(folder: Path, level: str, base: Path, rank: int = 4, image_size: int = SIZE, **size: Any) -> Path:
    """What stage 1 writes; ``size`` changes the encoder."""
    shape = replace(ENCODER_SIZES["tiny"], **size)
    variant = get_variant("samed", "tiny", name=f"expert_{level}", adapters=(level,), rank=rank, encoder_size=shape)
    model = build_model(variant, 1, image_size)
    path = folder / f"{level}.safetensors"
    save_expert(path, model, level, Card("expert", level, variant, image_size, base=reference_to(base)))
    return path


def said(tmp_path: Path, base: Path, **more: object) -> str:
    """The sentence with which ``python -m Training.stage2_finetune`` ends."""
    options = {"output": tmp_path / "run", "manifest": tmp_path / "manifest.json", "base": base, "variant": "samora",
               "encoder": "tiny", "cache": tmp_path / "cache", "preprocessing.image_size": SIZE,
               "preprocessing.modality": "MR", "preprocessing.intensity": "percentile", "preprocessing.low": 1,
               "preprocessing.high": 99, "preprocessing.crop": "none", "optimisation.steps": 1,
               "optimisation.batch_size": 1, "optimisation.accelerator": "cpu", "optimisation.devices": 1} | more
    with pytest.raises(SystemExit) as stop:
        command(finetune, Stage2, [text for name, value in options.items() for text in (f"--{name}", str(value))])
    message = str(stop.value.code)
    assert message.endswith((".", "'")) and "\n" not in message
    return message


@pytest.mark.parametrize(("change", "sentence"), [
    ({"rank": 2}, "does not fit samora on tiny at rank 4"),
    ({"depth": 1, "global_attn_indexes": (0,)}, "does not fit samora on tiny at rank 4"),
    ({"image_size": 96}, "was trained on slices of 96 x 96 pixels, this model takes 80 x 80"),
])
def test_an_expert_of_another_kind(cases: Any, tmp_path: Path, base: Path, change: dict[str, Any],
                                   sentence: str) -> None:
    prepare(cases, tmp_path)
    paths = [expert(tmp_path, level, base, **change if level == "patch" else {}) for level in EXPERTS]
    message = said(tmp_path, base, experts=json.dumps([str(path) for path in paths]))
    assert sentence in message and "patch.safetensors" in message
    assert not (tmp_path / "run").exists()


def test_a_damaged_expert(cases: Any, tmp_path: Path, base: Path) -> None:
    prepare(cases, tmp_path)
    paths = [expert(tmp_path, level, base) for level in EXPERTS]
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    message = said(tmp_path, base, experts=json.dumps([str(path) for path in paths]))
    assert "patch.safetensors" in message and "download or export it again" in message
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run(cases: Any, tmp_path: Path, base: Path) -> None:
    prepare(cases, tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("variant: samora\nfraction: 0.1\n", encoding="utf-8")
    assert "holds a run whose" in said(tmp_path, base, variant="samed")
    assert (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8") == "variant: samora\nfraction: 0.1\n"
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_a_full_disk(cases: Any, tmp_path: Path, base: Path) -> None:
    prepare(cases, tmp_path)
    with full_disk(400_000):  # room for the slices, none for the state
        assert "state.pt' could not be written; check that the disk has room" in said(tmp_path, base, variant="samed")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "log.jsonl"]


def prepare(cases: Any, folder: Path) -> None:
    cases.add("a")
    cases.manifest(folder, train="a")
