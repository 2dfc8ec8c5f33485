"""What counts as a result that is there already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume, room
from SAMoraLib.volume.io import LABEL_FORMATS, write_segmentation, write_volume
from SAMoraLib.volume.label_file import is_label_volume

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FORMATS = pytest.mark.parametrize("ending", LABEL_FORMATS)


def volume(dtype: type[np.generic]) -> Volume:
    array = np.random.default_rng(0).integers(0, 5, (4, 30, 40)).astype(dtype)
    return Volume(array, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), IDENTITY)


@FORMATS
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32])
def test_a_result_counts_also_one_that_another_program_wrote(tmp_path: Path, ending: str, dtype: type[np.generic]
                                                             ) -> None:
    path = tmp_path / f"labels{ending}"
    write_segmentation(volume(dtype), get_label_set("synapse"), path)
    assert is_label_volume(path)


def test_layers_of_a_corrected_segmentation_count(tmp_path: Path) -> None:
    layers = sitk.GetImageFromArray(np.ones((3, 4, 5, 2), np.uint8), isVector=True)
    sitk.WriteImage(layers, str(tmp_path / "labels.seg.nrrd"))
    assert is_label_volume(tmp_path / "labels.seg.nrrd")


@FORMATS
def test_want_of_memory_makes_no_result_none(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"labels{ending}"
    write_segmentation(volume(np.uint8), get_label_set("synapse"), path)

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(room, "available_bytes", lambda: 1000)
        assert is_label_volume(path)
    monkeypatch.setattr(np, "empty", fail)
    assert is_label_volume(path)


@FORMATS
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.99])
def test_a_file_that_is_not_whole_does_not_count(tmp_path: Path, ending: str, kept: float) -> None:
    path = tmp_path / f"labels{ending}"
    write_segmentation(volume(np.uint8), get_label_set("synapse"), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(kept * len(whole))])
    assert not is_label_volume(path)


@FORMATS
def test_real_numbers_are_no_labels(tmp_path: Path, ending: str) -> None:
    write_volume(volume(np.float32), tmp_path / f"image{ending}")
    assert not is_label_volume(tmp_path / f"image{ending}")


@FORMATS
def test_what_is_no_volume_does_not_count(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"text{ending}").write_text("done", encoding="utf-8")
    (tmp_path / f"folder{ending}").mkdir()
    assert not any(is_label_volume(tmp_path / f"{name}{ending}") for name in ("text", "folder", "missing"))
