"""What cannot be read as it lies is converted once, in the smallest type that holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Testing.training.datasets.miniature import image, label
from Training.datasets.files import compact, image_and_label
from Training.datasets.protocol import Source


def of(*values: float) -> Volume:
    return Volume(np.array(values, np.float64)[None, None], (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize(("values", "kind"), [
    ((0, 255), np.uint8), ((0, 256), np.int16), ((-1, 255), np.int16), ((-32768, 32767), np.int16),
    ((-32769, 0), np.float32), ((0, 32768), np.float32), ((0, 0.5), np.float32), ((3, 3), np.uint8),
])
def test_the_smallest_type_that_holds_the_values(values: tuple[float, ...], kind: type) -> None:
    found = compact(of(*values))
    assert found.array.dtype == kind and found.array.ravel().tolist() == list(values)


def test_the_grid_stays() -> None:
    volume = image(0)
    found = compact(volume)
    assert (found.spacing, found.origin, found.direction) == (volume.spacing, volume.origin, volume.direction)


def test_a_file_is_taken_where_it_lies(tmp_path: Path) -> None:
    paths = tmp_path / "image.nii", tmp_path / "label.nii"
    assert image_and_label(Source("a", *paths), tmp_path / "volumes") == paths
    assert image_and_label(Source("a", paths[0], None), tmp_path / "volumes") == (paths[0], None)
    assert not (tmp_path / "volumes").exists()


def test_what_is_no_file_becomes_one_once(tmp_path: Path) -> None:
    volume, asked = image(0), []

    def read(content: Volume) -> Volume:
        asked.append(content)
        return content

    source = Source("a", lambda: read(volume), lambda: read(label((1, 2), volume)))
    first = image_and_label(source, tmp_path)
    assert first == (tmp_path / "a_image.nii.gz", tmp_path / "a_label.nii.gz")
    assert np.array_equal(read_volume(first[0]).array, volume.array)
    assert set(np.unique(read_volume(first[1] or "").array)) == {0, 1, 2}
    assert image_and_label(source, tmp_path) == first and len(asked) == 2


def test_the_label_alone_may_have_to_be_converted(tmp_path: Path) -> None:
    volume = image(0)
    files = image_and_label(Source("a", tmp_path / "ct.nii", lambda: label((1,), volume)), tmp_path / "volumes")
    assert files == (tmp_path / "ct.nii", tmp_path / "volumes" / "a_label.nii.gz")


def test_nothing_is_written_of_a_damaged_source(tmp_path: Path) -> None:
    def damaged() -> Volume:
        raise ValueError("it is damaged.")

    with pytest.raises(ValueError, match="damaged"):
        image_and_label(Source("a", damaged, None), tmp_path)
    assert not list(tmp_path.iterdir())
