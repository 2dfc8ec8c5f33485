"""How many slices run at once is what fits, and a volume that cannot fit is refused before work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import SAMoraLib.inference.memory as memory
from SAMoraLib.card import Card
from SAMoraLib.inference.fallback import lighten
from SAMoraLib.inference.memory import GIB, check_reading, fitted_batch, free_bytes, slice_bytes, volume_bytes
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import get_label_set
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import get_variant
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume

MIB = 1 << 20


def predictor(variant: str = "samed", batch_size: int = 8, encoder: str = "vit_b") -> Predictor:
    """Of a model that is not there: only its card counts."""
    card = Card("model", "none", get_variant(variant, encoder), 224, get_label_set("synapse"),
                Preprocessing("CT", "hu_window", -160, 240, "body", 224))
    return Predictor(torch.nn.Identity(), card, batch_size=batch_size)


def volume(slices: int) -> Volume:
    return Volume(np.zeros((slices, 512, 512), np.int16), (1, 1, 3), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.fixture
def no_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: 500 * MIB)
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * GIB)


@pytest.mark.usefixtures("no_other_programs")
def test_as_many_slices_run_as_fit_and_the_next_volume_starts_anew() -> None:
    ours, ct = predictor(), volume(100)
    needed = (500 * MIB + volume_bytes(ct) + 3.5 * slice_bytes(ours, ct)) / GIB
    with fitted_batch(ours, ct, needed) as fewer:
        assert fewer
        assert ours.batch_size == 3
    with fitted_batch(ours, ct, 50) as fewer:
        assert not fewer
        assert ours.batch_size == 8


@pytest.mark.usefixtures("no_other_programs")
def test_where_memory_ran_out_all_the_same_the_next_volume_runs_as_few() -> None:
    ours = predictor()
    with fitted_batch(ours, volume(100), 50):
        lighten(ours)
    assert ours.batch_size == 4


@pytest.mark.usefixtures("no_other_programs")
def test_a_volume_that_cannot_fit_is_refused() -> None:
    with (pytest.raises(ValueError, match=r"512 x 512 x 1000 voxels needs \d\.\d GiB more than the 1 GiB allowed"),
          fitted_batch(predictor(), volume(1000), 1)):
        pass


def test_without_a_limit_a_full_machine_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 10 * MIB)
    ours = predictor()
    with fitted_batch(ours, volume(10)) as fewer:
        assert fewer
        assert ours.batch_size == 1


def test_where_the_system_says_nothing_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    ours = predictor()
    with fitted_batch(ours, volume(10)) as fewer:
        assert not fewer
        assert ours.batch_size == 8


def test_what_cannot_even_be_read_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: 500 * MIB)
    path = tmp_path / "long.mha"
    write_volume(volume(4), path)
    check_reading(path, None)
    check_reading(path, (500 + 4.1) / 1024)  # 2 MiB in the file, as much as an array
    with pytest.raises(ValueError, match=r"To read 'long\.mha' takes 0\.2 GiB more than the 0\.25 GiB allowed; allow"):
        check_reading(path, 0.25)
    (tmp_path / "broken.mha").write_bytes(b"broken")
    check_reading(tmp_path / "broken.mha", 1)  # reading itself says why


def test_what_fits_to_the_last_byte_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: 500 * MIB)
    path = tmp_path / "long.mha"
    write_volume(volume(4), path)
    check_reading(path, 504 * MIB / GIB)
    with pytest.raises(ValueError, match=r"To read 'long\.mha' takes 0\.0 GiB more"):
        check_reading(path, (504 * MIB - 1) / GIB)


def test_a_volume_takes_its_copy_and_three_bytes_a_voxel() -> None:
    assert volume_bytes(volume(3)) == 3 * 512 * 512 * (2 + 3)


@pytest.mark.usefixtures("no_other_programs")
def test_slices_that_fit_to_the_last_byte_run() -> None:
    ours, ct = predictor(), volume(100)
    around = 500 * MIB + volume_bytes(ct)
    for fitting in (1, 2, 8):
        with fitted_batch(ours, ct, (around + fitting * slice_bytes(ours, ct)) / GIB) as fewer:
            assert ours.batch_size == fitting and fewer == (fitting < 8)
    with (pytest.raises(ValueError, match=r"512 x 512 x 100 voxels needs 0\.0 GiB more than"),
          fitted_batch(ours, ct, (around + slice_bytes(ours, ct) - 1) / GIB)):
        pass


def test_on_a_gpu_slices_alone_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a volume itself takes lies in the machine's memory."""
    ours, ct = predictor(), volume(100)
    ours.device = torch.device("cuda:0")
    monkeypatch.setattr(memory, "free_bytes", lambda device, limit: 3 * slice_bytes(ours, ct))
    with fitted_batch(ours, ct):
        assert ours.batch_size == 3


def test_how_much_more_a_volume_needs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program itself takes 4 GiB and 2 are allowed: 2 more, and those of the volume and of one slice."""
    monkeypatch.setattr(memory, "resident_bytes", lambda: 4 * GIB)
    ours, ct = predictor(), volume(1000)
    more = 2 + (volume_bytes(ct) + slice_bytes(ours, ct)) / GIB
    with (pytest.raises(ValueError, match=rf"needs {more:.1f} GiB more than the 2 GiB allowed"),
          fitted_batch(ours, ct, 2)):
        pass


def test_a_machines_room_and_a_limit_count_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: 500 * MIB)
    cpu = torch.device("cpu")
    for known, limit, expected in ((3 * GIB, None, 3 * GIB), (3 * GIB, 2, 2 * GIB - 500 * MIB), (GIB, 2, GIB),
                                   (None, 2, 2 * GIB - 500 * MIB), (None, None, None)):
        monkeypatch.setattr(memory, "available_bytes", lambda known=known: known)
        assert free_bytes(cpu, limit) == expected


def test_of_a_gpu_others_take_nothing_of_our_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 GiB, of which others have 50; torch holds 12, and 4 of them are idle."""
    gpu = torch.device("cuda:0")
    for name, value in {"mem_get_info": (18 * GIB, 80 * GIB), "memory_allocated": 8 * GIB, "memory_reserved": 12 * GIB
                        }.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert free_bytes(gpu, None) == 22 * GIB
    assert free_bytes(gpu, 10) == 2 * GIB
    assert free_bytes(gpu, 60) == 22 * GIB


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_the_last_volume_left_idle_is_not_taken() -> None:
    """In a process of its own, whose allocator is told to keep what is freed."""
    program = """
import numpy as np
from SAMoraLib.system.allocator import give_back_freed_memory, keep_freed_memory
from SAMoraLib.system.memory import resident_bytes
kept = keep_freed_memory()
blocks = [np.ones(1 << 23, np.uint8) for _ in range(40)]
del blocks
before = resident_bytes()
give_back_freed_memory()
print(kept, (before - resident_bytes()) >> 20)
"""
    kept, given_back = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8",
                                      check=True).stdout.split()
    assert kept == "False" or int(given_back) > 250


def test_streams_and_sizes_count() -> None:
    ct = volume(10)
    plain = slice_bytes(predictor(), ct)
    assert plain < slice_bytes(predictor("samora"), ct)
    assert plain < slice_bytes(predictor("samed", encoder="vit_l"), ct)
    assert plain < slice_bytes(predictor("samed_2", encoder="hiera_b+"), ct)


def test_a_slice_takes_its_tokens_in_every_stream_and_its_pixels_for_every_class() -> None:
    """ViT-B at 224 pixels: 14 x 14 tokens of 768 channels; eight organs and the background on the square around a body
    that fills 512 x 512 pixels.
    """
    ct, tokens, pixels = volume(10), 14 * 14 * 768, 9 * 532 * 532
    assert slice_bytes(predictor(), ct) == 4 * (memory.BLOCK * tokens + memory.CLASSES * pixels)
    assert slice_bytes(predictor("samora"), ct) == 4 * (4 * memory.BLOCK * tokens + memory.CLASSES * pixels)
    waiting = memory.BLOCK + 12 * memory.WAITING
    assert slice_bytes(predictor("ma_sam"), ct) == 4 * (waiting * tokens + memory.CLASSES * pixels)
    finest = 56 * 56 * 112  # Hiera's first stage
    assert slice_bytes(predictor("samed_2", encoder="hiera_b+"), ct) == 4 * (memory.BLOCK * finest
                                                                              + memory.CLASSES * pixels)


def test_slices_smaller_than_the_models_count_as_the_models() -> None:
    small = Volume(np.zeros((3, 20, 30), np.int16), (1, 1, 3), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert slice_bytes(predictor(), small) == 4 * (memory.BLOCK * 14 * 14 * 768 + memory.CLASSES * 9 * 224 * 224)
