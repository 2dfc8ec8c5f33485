"""Runs on the real scene, with the real child or one that behaves badly on purpose."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.checkpoint import save_model
from SAMoraLib.request import Options
from Testing.small import small_card, small_model

OPTIONS = [field.name for field in fields(Options)]
PRETENDED = Path(__file__).with_name("pretended_child.py")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = small_model("samed")
    path = tmp_path_factory.mktemp("model é 模型") / "model.safetensors"
    save_model(path, model, small_card(model.variant))
    return path


@pytest.fixture
def temporary(slicer_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slicer's folder for temporary files, with a name that needs care."""
    path = tmp_path / "tmp é 患者 x"
    path.mkdir()
    monkeypatch.setattr(slicer_app, "temporaryPath", str(path))
    return path


@pytest.fixture
def run(scene: Any, temporary: Path, checkpoint: Path) -> Any:
    """``run(volumes, behaviour=None, ...)``: a run that is not started; the real child by default."""
    from SAMoraSlicer.segmenting import Segmenting

    made = []

    def make(volumes: list[Any], behaviour: str | None = None, model: Path = checkpoint, **options: Any) -> Segmenting:
        command = [sys.executable, str(PRETENDED), behaviour] if behaviour else None
        how = {name: options.pop(name) for name in OPTIONS if name in options}
        made.append(Segmenting(volumes, model, Options(**{"device": "cpu", **how}), command=command, **options))
        return made[-1]

    yield make
    for one in made:
        one.cancel()
        assert not list(temporary.iterdir()), "temporary files are left"
