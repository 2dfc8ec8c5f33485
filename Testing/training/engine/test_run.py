"""Run folders: configuration, log and state."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from Testing.refusals import refusal
from Testing.slicer.full_disk import full_disk
from Training.engine.run import Run
from Training.settings.optimisation import Optimisation
from Training.settings.stages import Stage2


def config(**changes: object) -> Stage2:
    return replace(Stage2(output=Path("o"), manifest=Path("m"), base=Path("b"), variant="samed"), **changes)


def test_the_configuration_is_written_and_read_as_the_same_run(tmp_path: Path) -> None:
    Run(tmp_path, config())
    Run(tmp_path, config())
    assert "variant: samed" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


def test_a_folder_from_before_a_field_existed_had_its_default(tmp_path: Path) -> None:
    Run(tmp_path, config())
    path = tmp_path / "config.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("trained:")))
    Run(tmp_path, config())
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("trained:")))
    with pytest.raises(ValueError, match="whose trained differ"):
        Run(tmp_path, config(trained=("decoder",)))


def test_also_in_a_part_of_the_configuration(tmp_path: Path) -> None:
    Run(tmp_path, config())
    path = tmp_path / "config.yaml"
    path.write_text("".join(line for line in path.read_text(encoding="utf-8").splitlines(True)
                            if line.strip() not in ("workers: 0", "total: 0")))  # optimisation's, and its schedule's
    Run(tmp_path, config())
    assert "workers: 0" in path.read_text(encoding="utf-8") and "total: 0" in path.read_text(encoding="utf-8")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if line.strip() != "workers: 0"))
    with pytest.raises(ValueError, match="whose optimisation differ"):
        Run(tmp_path, config(optimisation=Optimisation(workers=2)))


def test_another_configuration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, config())
    with pytest.raises(ValueError, match="holds a run whose fraction, variant differ"):
        Run(tmp_path, config(variant="samora", fraction=0.1))


def test_state_is_none_before_the_first_save(tmp_path: Path) -> None:
    assert Run(tmp_path, config()).load_state() is None


def test_a_failed_save_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, config())
    run.save_state({"step": 1})

    def torn(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError):
        run.save_state({"step": 2})
    state = run.load_state()
    assert state == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "state.pt"]


def test_a_full_disk_is_one_sentence_and_leaves_the_old_state(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.save_state({"step": 1})
    with full_disk(20_000), pytest.raises(OSError, match=r"state\.pt' could not be written; check that the disk has"):
        run.save_state({"step": 2, "weights": torch.zeros(100_000)})
    assert run.load_state() == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "state.pt"]


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_a_damaged_state_is_one_sentence(tmp_path: Path, kept: int) -> None:
    run = Run(tmp_path, config())
    run.save_state({"step": 1, "weights": torch.zeros(100)})
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:kept])
    assert "state.pt' is damaged; delete it to start this run again" in refusal(run.load_state)


def test_a_state_of_which_a_byte_changed_is_damaged(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.save_state({"weights": torch.full((100,), 3.0)})
    content, numbers = (tmp_path / "state.pt").read_bytes(), torch.full((100,), 3.0).numpy().tobytes()
    assert numbers in content
    (tmp_path / "state.pt").write_bytes(content.replace(numbers, numbers[:-4] + bytes(4)))
    assert "state.pt' is damaged; delete it to start this run again" in refusal(run.load_state)


def test_a_log_line_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.log(step=1, loss=0.5)
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 2, "lo')
    run.log(step=2, loss=0.25)
    run.log(step=3, loss=0.125)
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"step": 1, "loss": 0.5}', '{"step": 2, "lo', '{"step": 2, "loss": 0.25}', '{"step": 3, "loss": 0.125}']


@pytest.mark.parametrize(("content", "cause"), [
    (b"", "it is null instead of a table"), (b"[1]", "it is a list instead of a table"), (b"a", "it is 'a' instead"),
    (b"\x00\x01\xff", "utf-8"), (b"a: [", "it is not YAML"), (b"a: 1\na: 2", "it has 'a' twice"),
    (b"a: !!python/object/apply:os.system [x]", "it has the tag"), (b"[" * 9999, "nested deeper than 32 levels"),
    (b"a: &a [*a]", "the alias 'a'"), (b"a: .inf", "not a finite number"), (b"a" * 300_000, "it is longer than"),
])
def test_a_configuration_that_nobody_can_read_is_one_sentence(tmp_path: Path, content: bytes, cause: str) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    said = refusal(lambda: Run(tmp_path, config()))
    assert "config.yaml' cannot be read as a run's configuration (" in said and cause in said
    assert said.endswith("delete it where you know that the folder is this run's, or choose another output folder.")
    assert (tmp_path / "config.yaml").read_bytes() == content


@pytest.mark.parametrize("text", ["optimisation: 3\n", "optimisation: {schedule: [1]}\n", "'a\\eb': 1\n", "a: {}\n"])
def test_one_of_other_types_is_another_runs(tmp_path: Path, text: str) -> None:
    Run(tmp_path, config())
    path = tmp_path / "config.yaml"
    kept = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True)
                   if not line.startswith(("optimisation:", "  ")))
    path.write_text(kept + text.replace("'a\\eb'", '"a\\eb"'), encoding="utf-8")
    said = refusal(lambda: Run(tmp_path, config()))
    assert "holds a run whose" in said and "\x1b" not in said


@pytest.mark.parametrize("text", ["1e-3", "1:30", "null", "é", "2024-01-01", "*a", "{x}", "0x1f", ".inf", "a: b"])
def test_texts_that_look_like_other_things_stay_the_same_run(tmp_path: Path, text: str) -> None:
    Run(tmp_path, config(name=text))
    Run(tmp_path, config(name=text))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    assert "it is not a regular file" in refusal(lambda: Run(tmp_path, config()))
    (tmp_path / "config.yaml").unlink()
    os.mkfifo(tmp_path / "state.pt")
    assert "state.pt' is damaged" in refusal(Run(tmp_path, config()).load_state)


def test_any_flipped_byte_of_a_state_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.save_state({"step": 1, "weights": {"a": torch.full((50,), 3.0)}})
    content, refused = (tmp_path / "state.pt").read_bytes(), 0
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        (tmp_path / "state.pt").write_bytes(changed)
        try:
            state = run.load_state()
        except ValueError as error:
            refused += str(error).endswith("delete it to start this run again.")
        else:
            assert state is not None and state["step"] == 1
            assert torch.equal(state["weights"]["a"], torch.full((50,), 3.0))
    assert refused > 100


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with full_disk(0), pytest.raises(OSError) as error:
        Run(tmp_path / "new", config())
    assert str(error.value) == (f"'{tmp_path / 'new' / 'config.yaml'}' could not be written (File too large); check "
                                "that the disk has room and that the folder may be written to, or choose another one.")
    run = Run(tmp_path, config())
    with full_disk(0), pytest.raises(OSError, match=r"log\.jsonl' could not be written \(File too large\); check that"):
        run.log(step=1, loss=0.5)
    run.log(step=1, loss=0.5)
    run.log(step=2, loss=0.5)
    with full_disk(0), pytest.raises(OSError, match=r"/log\.jsonl' could not be written \(File too large\)"):
        run.forget_after(1)


@pytest.mark.parametrize("name", ["config.yaml", "log.jsonl", "state.pt"])
def test_what_may_not_be_written_is_named_and_nothing_hidden(tmp_path: Path, name: str,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is read-only; whoever runs the tests may be allowed to write anywhere."""
    if name != "config.yaml":
        Run(tmp_path, config())
    opened = io.open

    def read_only(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if set(mode) & set("wax+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))
        return opened(file, mode, *rest, **more)

    monkeypatch.setattr(io, "open", read_only)
    monkeypatch.setattr(builtins, "open", read_only)
    monkeypatch.setattr(torch, "save", lambda state, path: path.write_bytes(b""))
    with pytest.raises(OSError) as error:
        run = Run(tmp_path, config())
        run.log(step=1) if name == "log.jsonl" else run.save_state({"step": 1})
    assert str(error.value).startswith(f"'{tmp_path / name}' could not be written (Read-only file system); check ")
    assert ".samora" not in str(error.value)


def test_a_log_forgets_what_was_done_after_the_state(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.forget_after(0)
    for step in (10, 20, 30):
        run.log(step=step, loss=0.5)
        run.log(step=step, validation_dice=0.5)
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'{"step": 1, "lo\nnull\n[1]\n{}\n{"step": "x"}\n\xff\n{"step": 40')
    run.forget_after(20)
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 10, 20, 20]
    before = (tmp_path / "log.jsonl").stat().st_mtime_ns
    run.forget_after(20)
    assert (tmp_path / "log.jsonl").stat().st_mtime_ns == before, "nothing is written where nothing changes"


def test_a_folder_is_one_runs_at_a_time_and_rid_of_dead_ones_files(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    (tmp_path / ".samora_0123456789abcdef.tmp").write_bytes(b"half")
    with run.alone():
        assert not list(tmp_path.glob(".samora_*.tmp"))
        with pytest.raises(OSError, match="Another run is writing to"), Run(tmp_path, config()).alone():
            pass
    with run.alone():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_lines_of_a_measure_of_nothing_stay(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    (tmp_path / "log.jsonl").write_text('{"step": 1, "dice": NaN}\n', encoding="utf-8")  # as earlier versions wrote it
    run.log(step=2, dice=float("nan"))
    run.log(step=3, dice=0.5)
    run.forget_after(2)
    first, second = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert first == '{"step": 1, "dice": NaN}' and json.loads(second) == {"step": 2, "dice": None}
