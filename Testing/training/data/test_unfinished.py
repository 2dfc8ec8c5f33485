"""What killed writers left, and how a failed one names its file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from Training.data.unfinished import naming, sweep


def test_what_is_unfinished_and_old_goes(tmp_path: Path) -> None:
    for name in (".samora_1.tmp", ".samora_2.nii.gz", "model.safetensors", ".hidden"):
        (tmp_path / name).write_text("a", encoding="utf-8")
    (tmp_path / ".samora_folder").mkdir()
    (tmp_path / ".samora_folder" / "images.npy").write_text("a", encoding="utf-8")
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5, "somebody may be writing"
    for path in tmp_path.iterdir():
        os.utime(path, (0, time.time() - 25 * 3600))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "model.safetensors"]


def test_where_nobody_else_writes_all_goes_and_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".samora_link").symlink_to(kept)
    (tmp_path / "run" / ".samora_1.tmp").touch()
    sweep(tmp_path / "run", seconds=0)
    assert not list((tmp_path / "run").iterdir()) and list(kept.iterdir())
    sweep(tmp_path / "none")


def test_the_file_that_was_wanted_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error, naming(tmp_path / "log.jsonl"):
        (tmp_path / "none" / ".samora_1.tmp").touch()
    assert str(error.value) == (f"'{tmp_path / 'log.jsonl'}' could not be written (No such file or directory); check "
                                "that the disk has room and that the folder may be written to, or choose another one.")
    with pytest.raises(OSError, match=r"^A sentence\.$"), naming(tmp_path / "log.jsonl"):
        raise OSError("A sentence.")
