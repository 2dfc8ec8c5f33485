from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.cli import main
from SAMoraLib.demo.demo import CHECKPOINT
from SAMoraLib.system.ranks import local_rank, rank_and_world, share_of
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
SLURM = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}


def test_no_launcher_is_one_process() -> None:
    assert rank_and_world({}) == (0, 1) and local_rank({}) is None


def test_a_batch_script_without_srun_is_one_process() -> None:
    assert rank_and_world({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}) == (0, 1)


def test_torchrun_inside_slurm_counts_as_torchrun() -> None:
    assert rank_and_world(SLURM) == (2, 4) and local_rank(SLURM) == 0
    assert rank_and_world(SLURM | TORCHRUN) == (3, 8) and local_rank(SLURM | TORCHRUN) == 1


@pytest.mark.parametrize(("rank", "world"), [("4", "4"), ("x", "4"), ("-1", "4"), ("0", "")])
def test_numbers_that_no_launcher_sets_are_refused(rank: str, world: str) -> None:
    with pytest.raises(ValueError, match="start with torchrun or srun, or unset both"):
        rank_and_world({"RANK": rank, "WORLD_SIZE": world})


@pytest.mark.parametrize("world", [1, 2, 3, 7, 20])
def test_every_item_is_in_one_share(world: int) -> None:
    items = list(range(11))
    shares = [share_of(items, rank, world) for rank in range(world)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_two_processes_segment_each_volume_once_and_the_next_run_what_is_left(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    volumes = [tmp_path / f"{number}.nii.gz" for number in range(3)]
    for path in volumes:
        write_volume(Volume(np.zeros((2, 8, 8), np.int16), (4.0, 4.0, 5.0), (0.0, 0.0, 0.0),
                            (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)), path)
    monkeypatch.setenv("WORLD_SIZE", "2")

    def done(rank: int, *more: str) -> int:
        monkeypatch.setenv("RANK", str(rank))
        assert main(["predict", *map(str, volumes), "--model", str(CHECKPOINT), "--output", str(tmp_path / "out"),
                     "--device", "cpu", "--json", *more]) == 0
        return capsys.readouterr().out.count('"event": "result"')

    assert [done(0), done(1)] == [2, 1] and len(list((tmp_path / "out").iterdir())) == 3
    (tmp_path / "out" / "0_segmentation.seg.nrrd").unlink()
    assert [done(0, "--resume"), done(1, "--resume")] == [1, 0]
