"""Batches with real child processes and a small model, in folders whose names hold spaces, accents and CJK."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from SAMoraLib.checkpoint import save_model
from SAMoraLib.request import DEFAULTS, Options
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import LABEL_FORMATS, read_volume, write_volume
from SAMoraSlicer import batch, dependencies, segment_batch
from SAMoraSlicer.manifest import Manifest
from SAMoraSlicer.process import ChildProcess
from Testing.folders import ROOT
from Testing.library.volume.test_dicom import straight, write_slices
from Testing.slicer.bare_checkpoint import write_checkpoint
from Testing.small import small_card, small_model

SCRIPT = ROOT / "SAMora/SAMoraSlicer/segment_batch.py"
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
ORGANS = 4
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
needs_signals = pytest.mark.skipif(os.name != "posix", reason="no SIGKILL on this system")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = small_model("samed")
    path = tmp_path_factory.mktemp("Modèle 模型") / "petit modèle.safetensors"
    save_model(path, model, small_card(model.variant))
    return path


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    (tmp_path / "Patienten é 腹部").mkdir()
    return tmp_path / "Patienten é 腹部"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "Ergebnisse für Ärzte 結果"


def write_ct(path: Path, slices: int = 3, seed: int = 0) -> Path:
    array = np.full((slices, 30, 40), -1000, np.int16)
    array[:, 5:25, 5:35] = np.random.default_rng(seed).integers(-100, 200, (slices, 20, 30))
    write_volume(Volume(array, (2.0, 3.0, 5.0), (-12.5, 40.0, 7.0), STRAIGHT), path)
    return path


def run(patients: Path, output: Path, checkpoint: Path, *more: str) -> int:
    return segment_batch.main(["--input", str(patients), "--output", str(output), "--model", str(checkpoint),
                               "--device", "cpu", "--batch-size", "1", *more])


def finished(said: str) -> list[str]:
    """The names of the cases that a run says it has segmented."""
    return [line.split("] ")[1].split(": ")[0] for line in said.splitlines() if " organs found, " in line]


def states(output: Path) -> dict[str, str]:
    cases = Manifest(output / "manifest.json", {}).cases
    return {name: state["status"] for name, state in cases.items()}


def results(output: Path) -> dict[str, int]:
    """Label volumes and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in output.rglob("*_segmentation*")}


class Asked(batch.FolderBatch):
    """A batch that only notes what it was made for, and ends as a test says."""

    made: list[tuple[Any, ...]] = []
    begins, trouble = True, {}

    def __init__(self, *arguments: Any) -> None:
        self.made.append(arguments)
        self.begun, self.errors, self.notices, self.state = self.begins, dict(self.trouble), ["1 volumes"], "idle"

    def start(self) -> None:
        self.state = "running"

    def step(self) -> bool:
        self.notices.append(f"step {len(self.notices)}")
        return len(self.notices) < 4


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Asked]:
    monkeypatch.setattr(batch, "FolderBatch", Asked)
    monkeypatch.setattr(Asked, "made", [])
    monkeypatch.setattr(Asked, "cancel", lambda self: None)
    return Asked


def test_without_options_the_batch_does_as_any_other_program(asked: type[Asked], tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "own.safetensors")
    assert segment_batch.main(["--input", "in", "--output", "out", "--model", str(model)]) == 0
    assert asked.made == [(Path("in"), Path("out"), model, DEFAULTS, None, LABEL_FORMATS[0], "*")]


def test_every_option_reaches_the_batch(asked: type[Asked], tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "own.safetensors")
    assert segment_batch.main(["--input", "in", "--output", "out", "--model", str(model), "--base", "base", "--organs",
                               "liver,aorta", "--pattern", "*/ct.*", "--format", ".mha", "--device", "cuda:1",
                               "--batch-size", "3", "--precision", "int8", "--skim", "4", "--assume-hu"]) == 0
    options = Options(("liver", "aorta"), "cuda:1", 3, 4, precision="int8", assume_hu=True)
    assert asked.made == [(Path("in"), Path("out"), model, options, Path("base"), ".mha", "*/ct.*")]


def test_what_a_file_says_of_itself_does_not_steer_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*arguments: object) -> None:
        raise ValueError("The card \x1b[2J\x9b31m\nis damaged.")

    monkeypatch.setattr(batch, "FolderBatch", refuse)
    model = write_checkpoint(tmp_path / "own.safetensors")
    assert segment_batch.main(["--input", "in", "--output", "out", "--model", str(model)]) == 2
    assert capsys.readouterr().err == "segment_batch.py: The card \\x1b[2J\\x9b31m\\nis damaged.\n"


def test_a_model_of_the_catalogue_goes_by_its_name(asked: type[Asked]) -> None:
    assert segment_batch.main(["--input", "in", "--output", "out", "--model", "demonstration"]) == 0
    assert asked.made[0][2].name == "demo.safetensors"


@pytest.mark.parametrize(("begins", "trouble", "code"), [
    (True, {}, 0), (True, {"a": "It is broken."}, 1), (True, {None: "The disk is full."}, 1),
    (False, {None: "PyTorch is missing."}, 2), (False, {"a": "It is broken."}, 1), (False, {}, 0)])
def test_the_exit_code_says_how_far_it_came(asked: type[Asked], monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str], begins: bool,
                                            trouble: dict[str | None, str], code: int) -> None:
    monkeypatch.setattr(asked, "begins", begins)
    monkeypatch.setattr(asked, "trouble", trouble)
    assert segment_batch.main(["--input", "in", "--output", "out", "--model", "demonstration"]) == code
    said = capsys.readouterr()
    assert said.out.splitlines() == ["1 volumes", "step 1", "step 2", "step 3"], "every line once, the last too"
    assert said.err == (f"segment_batch.py: {trouble[None]}\n" if None in trouble else "")


def test_missing_packages_are_wrong_use(asked: type[Asked], monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dependencies, "missing", lambda: ["torch>=2.2"])
    assert segment_batch.main(["--input", "in", "--output", "out", "--model", "demonstration"]) == 2
    assert asked.made == [] and capsys.readouterr().err.startswith("segment_batch.py: torch is missing (")


def test_plain_python_ends_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slicer", None)
    with pytest.raises(SystemExit) as ended:
        segment_batch.leave(3)
    assert ended.value.code == 3


def test_slicer_is_asked_to_end_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    slicer = SimpleNamespace(app=object(), util=SimpleNamespace(exit=codes.append))
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    segment_batch.leave(3)
    assert codes == [3]


def test_the_modules_folder_and_the_clones_are_found_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["before"])
    segment_batch._make_importable()
    assert sys.path == [str(ROOT / "SAMora"), str(ROOT), "before"]


class KilledAtTheLong(ChildProcess):
    """A child that the system kills in the middle of the case called "long"."""

    killed = False

    def events(self) -> list[dict[str, Any]]:
        arrived = super().events()
        if not self.killed and any("long" in event.get("volume", "") and event["stage"] == "segmenting"
                                   for event in arrived if event["event"] == "progress"):
            os.kill(self.pid, signal.SIGKILL)
            self.killed = True
        return arrived


@needs_signals
def test_twenty_volumes_one_corrupt_and_one_killed(patients: Path, output: Path, checkpoint: Path,
                                                   monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(17):
        write_ct(patients / f"groupe {number % 3}/cas é {number:02}{ENDINGS[number % 4]}", seed=number)
    write_slices(patients / "série 腹部", straight)
    write_ct(patients / "groupe 1/long.nrrd", slices=200)
    (patients / "corrupt.nii.gz").write_bytes(b"no volume")

    with monkeypatch.context() as patch:
        patch.setattr(batch, "ChildProcess", KilledAtTheLong)
        assert run(patients, output, checkpoint) == 1
    first = capsys.readouterr().out
    before = states(output)
    assert len(before) == 20 and list(before.values()).count("done") == 18
    assert before["corrupt"] == before["groupe 1/long"] == "failed"
    written = results(output)
    assert len(written) == 18

    assert run(patients, output, checkpoint) == 1
    second = capsys.readouterr().out
    assert {name for name, status in states(output).items() if status == "failed"} == {"corrupt"}
    assert "20 volumes, 18 of them done before" in second
    assert "corrupt: 'corrupt.nii.gz' cannot be read; it is not a NIfTI file" in first and "corrupt: " in second
    assert "long: 'long.nrrd' could not be segmented: its process was ended by the system (signal 9)" in first
    names = finished(first) + finished(second)
    assert len(names) == len(set(names)) == 19
    assert {name: at for name, at in results(output).items() if name in written} == written
    with (output / "statistics.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 19 * ORGANS and {row["volume"] for row in rows} == set(names)


def test_results_lie_on_the_inputs_grids_and_are_not_mixed_with_others(patients: Path, output: Path, checkpoint: Path,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    source = write_ct(patients / "a.nrrd")
    series = write_slices(patients / "série", straight)
    assert run(patients, output, checkpoint, "--format", ".nii.gz", "--organs", "spleen,liver") == 0
    for path in (source, series):
        found = read_volume(output / f"{path.name.removesuffix('.nrrd')}_segmentation.nii.gz")
        assert found.array.shape == read_volume(path).array.shape and set(np.unique(found.array)) <= {0, 1, 4}
        assert np.allclose(found.ijk_to_lps, read_volume(path).ijk_to_lps, atol=1e-4)
    assert sorted(path.name for path in output.iterdir()) == [
        "a_segmentation.nii.gz", "manifest.json", "statistics.csv", "série_segmentation.nii.gz"]
    before = results(output)
    assert run(patients, output, checkpoint, "--format", ".nii.gz", "--organs", "liver") == 2
    assert "holds results of a run with other organs (liver,spleen, now liver)" in capsys.readouterr().err
    assert results(output) == before


@needs_signals
def test_a_batch_that_is_killed_itself_goes_on_where_it_was(patients: Path, output: Path, checkpoint: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    write_ct(patients / "a.nrrd")
    write_ct(patients / "b long.nrrd", slices=200)
    command = [sys.executable, str(SCRIPT), "--input", str(patients), "--output", str(output), "--model",
               str(checkpoint), "--device", "cpu", "--batch-size", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=patients) as started:
        lines = iter(started.stdout.readline, b"")
        assert any(b"] a: " in line for line in lines)
        started.kill()
    written = results(output)
    assert states(output) == {"a": "done"}

    assert run(patients, output, checkpoint) == 0
    assert finished(capsys.readouterr().out) == ["b long"]
    assert results(output)["a_segmentation.seg.nrrd"] == written["a_segmentation.seg.nrrd"]
    assert states(output) == {"a": "done", "b long": "done"}
    assert not list(output.glob(".*"))


@needs_signals
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_a_batch_that_is_ended(patients: Path, output: Path, checkpoint: Path, tmp_path: Path,
                                                 ended_by: signal.Signals) -> None:
    """As a cluster, a container or the system does it."""
    write_ct(patients / "long.nrrd", slices=400)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, str(SCRIPT), "--input", str(patients), "--output", str(output), "--model",
               str(checkpoint), "--device", "cpu", "--batch-size", "1"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=patients,
                               env=os.environ | {"TMPDIR": str(temporary)})
    for _ in range(600):
        if children := _running(str(temporary)):
            break
        time.sleep(0.05)
    time.sleep(1)
    started.send_signal(ended_by)
    assert started.wait(30) == (143 if ended_by == signal.SIGTERM else -signal.SIGKILL)
    assert children
    for _ in range(200):
        if not _running(str(temporary)):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child outlived the batch")
    if ended_by == signal.SIGTERM:
        assert list(temporary.iterdir()) == [] and not list(output.glob(".*"))


def _running(of: str) -> list[str]:
    """Command lines of running programs that name this folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if of in line and "predict" in line]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--input", "nowhere"], "There is no folder"),
    (["--model", "nothing"], "There is no model 'nothing'; choose from "),
    (["--model", "nowhere.safetensors"], "There is no checkpoint"),
    (["--organs", "heart"], "'heart' is not an organ of this model"),
    (["--pattern", "*.mha"], "holds no volume that fits '*.mha'"),
    (["--organs", ","], "no organ is named"),
    (["--batch-size", "0"], "'0' is not a whole number above 0"),
    (["--skim", "0"], "'0' is not a whole number above 0"),
    (["--precision", "quarter"], "invalid choice"),
    (["--format", ".png"], "invalid choice"),
    (["--fly"], "unrecognized arguments"),
])
def test_wrong_use_ends_with_2_and_writes_nothing(patients: Path, output: Path, checkpoint: Path, arguments: list[str],
                                                  message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_ct(patients / "a.nrrd")
    assert run(patients, output, checkpoint, *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not output.exists()


def test_speed_belongs_to_the_run(patients: Path, output: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
                                  ) -> None:
    write_ct(patients / "a.nrrd")
    assert run(patients, output, checkpoint, "--skim", "2") == 0
    assert json.loads((output / "manifest.json").read_text(encoding="utf-8"))["run"]["skim"] == 2
    assert run(patients, output, checkpoint) == 2
    assert "holds results of a run with other skim (2, now 1)" in capsys.readouterr().err


def test_a_device_that_is_not_there_stops_the_run_with_one_sentence(patients: Path, output: Path, checkpoint: Path,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    write_ct(patients / "a.nrrd")
    assert run(patients, output, checkpoint, "--device", "cuda:99") == 2
    assert "segment_batch.py: Device 'cuda:99' is not on this machine" in capsys.readouterr().err


def test_a_python_without_torch_stops_the_run_with_one_sentence(patients: Path, output: Path, checkpoint: Path,
                                                                monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    write_ct(patients / "a.nrrd")
    monkeypatch.setattr(batch, "python_command", lambda: [sys.executable, "-c", "import sys; sys.exit('no torch')"])
    assert run(patients, output, checkpoint) == 2
    said = capsys.readouterr().err
    assert "ended by itself (exit code 1) before its first volume and said: no torch; check that PyTorch" in said


def test_an_interruption_ends_with_130_and_no_child(patients: Path, output: Path, checkpoint: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    write_ct(patients / "long.nrrd", slices=200)
    children = []

    class Interrupted(ChildProcess):
        def events(self) -> list[dict[str, Any]]:
            children.append(self)
            if super().events():
                raise KeyboardInterrupt
            return []

    monkeypatch.setattr(batch, "ChildProcess", Interrupted)
    assert run(patients, output, checkpoint) == 130
    assert children[-1].poll() is not None
    assert results(output) == {}


REFUSES_ALL = """
import json, sys
for job in json.load(open(sys.argv[sys.argv.index("--request") + 1], encoding="utf-8"))["jobs"]:
    message = f"'{job['input']}' and '{job['output']}' are no good."
    print("samora:", message, file=sys.stderr)
    print(json.dumps({"event": "error", "volume": job["input"], "message": message}), flush=True)
"""


def test_the_report_names_no_file(patients: Path, output: Path, checkpoint: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are named after patients, and a report is for the forum."""
    for name in ("Meyer Älva 1970.nrrd", "Meyer.nrrd"):
        write_ct(patients / name)
    monkeypatch.setattr(batch, "python_command", lambda: [sys.executable, "-c", REFUSES_ALL])
    work = batch.FolderBatch(patients, output, checkpoint)
    work.start()
    work.wait()
    assert work.state == "done" and work.fraction == 1.0 and set(work.errors) == {"Meyer Älva 1970", "Meyer"}
    report = work.report()
    assert report.count(".seg.nrrd>' are no good.") == 2 and "Meyer" not in report


def test_a_full_disk_stops_the_run_with_one_sentence(patients: Path, output: Path, checkpoint: Path,
                                                     monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_ct(patients / "a.nrrd")
    monkeypatch.setattr(batch.Request, "write", full)
    assert run(patients, output, checkpoint) == 2
    said = capsys.readouterr().err
    assert "cannot be written to (No space left on device); free some space" in said and "Traceback" not in said
    assert not output.exists()
    monkeypatch.undo()
    monkeypatch.setattr(batch, "python_command", lambda: [sys.executable, "-c", REFUSES_ALL])
    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(patients, output, checkpoint) == 1
    said = capsys.readouterr().err
    assert "manifest.json' could not be written (No space left on device)" in said and "Traceback" not in said
    assert [path.name for path in output.iterdir()] == ["manifest.jsonl"]
    monkeypatch.undo()
    assert states(output) == {"a": "failed"}, "the next run knows all the same"


AS_SLICER_DOES = """
# What Slicer's --python-script does: the file is read and run in the main context, and Slicer stays.
import json, sys
from Testing.slicer import harness
harness.start()
import slicer
{fault}
sys.argv = ["Slicer", *json.loads({arguments!r})]
sys.path.insert(0, {folder!r})
globals()["__file__"] = {script!r}
exec(open({script!r}, encoding="ascii").read(), globals())
widgets = [widget.className() for widget in slicer.app.topLevelWidgets() if widget.visible]
print(json.dumps([slicer.app.exit_code, "torch" in sys.modules, widgets]))
"""


def in_slicer(arguments: list[str], fault: str = "") -> tuple[list[Any], str]:
    """Exit code, whether torch was loaded, open windows; and what was said on standard error."""
    pytest.importorskip("slicer", reason='slicer-core is not installed: pip install -e ".[slicer]"')
    pytest.importorskip("PySide6", reason='PySide6-Essentials is not installed: pip install -e ".[slicer]"')
    code = AS_SLICER_DOES.format(arguments=json.dumps(arguments), folder=str(SCRIPT.parent), script=str(SCRIPT),
                                 fault=fault)
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200,
                             check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1]), process.stderr


def test_slicer_is_left_with_the_exit_code(patients: Path, output: Path, checkpoint: Path) -> None:
    write_ct(patients / "a.nrrd")
    (patients / "b.nrrd").write_bytes(b"no volume")
    arguments = ["--input", str(patients), "--output", str(output), "--model", str(checkpoint), "--device", "cpu"]
    assert in_slicer(arguments)[0] == [1, False, []]
    assert states(output) == {"a": "done", "b": "failed"}


def test_slicer_is_left_after_wrong_use() -> None:
    ended, said = in_slicer(["--input", "nowhere"])
    assert ended == [2, False, []] and "the following arguments are required" in said


def test_slicer_is_left_after_a_fault_of_ours(patients: Path, output: Path, checkpoint: Path) -> None:
    """An uncaught exception would leave a process without a window running for ever."""
    fault = (f"sys.path.insert(0, {str(ROOT / 'SAMora')!r})\n"
             "import SAMoraSlicer.batch as batch; batch.find_cases = lambda *_: 1 / 0")
    arguments = ["--input", str(patients), "--output", str(output), "--model", str(checkpoint)]
    ended, said = in_slicer(arguments, fault)
    assert ended == [1, False, []] and "ZeroDivisionError" in said
