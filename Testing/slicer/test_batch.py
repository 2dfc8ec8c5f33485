"""A folder's run step by step: how far it is, how long it takes, and what becomes of what goes wrong."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from SAMoraLib.labels import get_label_set
from SAMoraLib.request import Options
from SAMoraLib.system.files import file_sha256
from SAMoraSlicer import batch
from SAMoraSlicer.batch import FolderBatch
from SAMoraSlicer.manifest import Manifest
from Testing.refusals import refusal
from Testing.slicer.bare_checkpoint import write_checkpoint
from Testing.slicer.scripted_child import ScriptedChild

ORGANS = [{"name": "liver", "title": "Liver", "found": True}, {"name": "spleen", "title": "Spleen", "found": False}]


class Run:
    """Files of a folder, runs over them, and their children."""

    def __init__(self, folder: Path) -> None:
        self.input, self.output = folder / "in", folder / "out"
        self.temporary = folder / "tmp"
        self.model = write_checkpoint(folder / "model.safetensors")
        self.children: list[ScriptedChild] = []
        for made in (self.input, self.temporary):
            made.mkdir()

    def add(self, *names: str) -> None:
        for name in names:
            (self.input / f"{name}.nrrd").write_bytes(b"voxels")

    def make(self, **options: Any) -> FolderBatch:
        return FolderBatch(self.input, self.output, self.model, **options)

    def start(self, *names: str, **options: Any) -> FolderBatch:
        self.add(*names)
        made = self.make(**options)
        made.start()
        return made

    def child(self) -> ScriptedChild:
        self.children.append(ScriptedChild())
        return self.children[-1]

    def say(self, event: str, name: str, **values: Any) -> None:
        """Of a volume, by the last child."""
        self.children[-1].say(event, volume=str(self.input / f"{name}.nrrd"), **values)

    def finish(self, name: str) -> Path:
        """A result of the last child."""
        output = self.output / f"{name}_segmentation.seg.nrrd"
        output.write_bytes(b"labels")
        self.say("result", name, output=str(output), seconds=2.04, organs=ORGANS)
        return output

    def end(self, code: int = 0, *last_words: str) -> None:
        self.children[-1].end(code, *last_words)

    def asked(self) -> list[list[str]]:
        """The volumes that every child was given."""
        return [[Path(job["input"]).stem for job in child.request["jobs"]] for child in self.children]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    made = Run(tmp_path)
    monkeypatch.setattr(batch, "ChildProcess", made.child)
    monkeypatch.setattr(tempfile, "tempdir", str(made.temporary))
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """``clock.now``, in seconds; whoever sleeps lets it go on by a second and does ``clock.meanwhile()``."""
    made = SimpleNamespace(now=50.0, meanwhile=lambda: None)

    def sleep(seconds: float) -> None:
        made.now += 1.0
        made.meanwhile()
        assert made.now < 1000.0, "waited in vain"

    monkeypatch.setattr(batch, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=sleep))
    return made


def done_before(run: Run, *names: str) -> None:
    """An earlier run that got no further."""
    earlier = run.make()
    earlier.start()
    for name in names:
        run.finish(name)
    earlier.step()
    earlier.cancel()


def test_a_name_that_is_too_long_for_a_result_stops_nothing_else(run: Run) -> None:
    long = "b" * 245
    started = run.start("a", long, "c")
    assert run.asked() == [["a", "c"]]
    for name in "ac":
        run.finish(name)
    run.end()
    started.wait()
    assert started.state == "done" and list(started.errors) == [long]
    assert "and the file system allows 255; choose a shorter one" in started.errors[long]


def test_where_no_result_fits_nothing_is_begun(run: Run) -> None:
    run.add("b" * 245)
    assert "and the file system allows 255" in refusal(run.make)
    assert not run.output.exists()



@pytest.mark.parametrize(("organs", "kept"), [(None, ",".join(get_label_set("synapse").names)),
                                              (("liver", "spleen"), "spleen,liver"),
                                              (("Liver", "LEFT kidney"), "left_kidney,liver")])
def test_results_are_comparable_by_model_organs_format_and_speed(run: Run, organs: Any, kept: str) -> None:
    run.add("a")
    made = run.make(options=Options(organs, precision="half", skim=2), ending=".nii.gz")
    assert made.manifest.run == {"model": f"model {file_sha256(run.model)[:16]}", "organs": kept, "format": ".nii.gz",
                                 "precision": "half", "skim": 2}
    assert made.manifest.path == run.output / "manifest.json"


def test_what_cannot_segment_is_refused_before_anything_is_written(run: Run) -> None:
    run.add("a")
    write_checkpoint(run.model, kind="base", labels=None, preprocessing=None)
    assert refusal(run.make) == ("'model.safetensors' is a checkpoint of kind 'base', which cannot segment by itself; "
                                 "give a trained model.")
    write_checkpoint(run.model)
    assert "'heart' is not an organ" in refusal(lambda: run.make(options=Options(("heart",))))
    assert not run.output.exists()


def test_a_run_that_is_not_started_is_idle_and_stays_so(run: Run) -> None:
    run.add("a")
    made = run.make()
    made.cancel()
    assert made.state == "idle" and made.fraction == 0.0 and made.seconds_left is None and not made.step()
    assert made.report() == "Nothing was started." and not made.begun and not run.output.exists()


def test_a_run_is_as_far_as_its_volumes(run: Run) -> None:
    run.add(*"abcd")
    done_before(run, "a")
    made = run.make()
    assert made.fraction == 0.25
    made.start()
    assert made.notices == ["4 volumes, 1 of them done before"] and made.step()
    run.say("progress", "b", fraction=0.5, stage="segmenting")
    made.step()
    assert made.fraction == 0.375 and made.stage == "segmenting" and made.current and made.current.name == "b"
    run.finish("b")
    made.step()
    assert made.fraction == 0.5 and made.current is None
    run.say("error", "c", message="It is broken.")
    made.step()
    assert made.fraction == 0.75 and [case.name for case in made.waiting] == ["d"]
    assert made.notices[1:] == ["[2/4] b: 1 of 2 organs found, 2.0 s", "[3/4] c: It is broken."]
    assert made.errors == {"c": "It is broken."}


def test_the_first_run_says_how_many_volumes_there_are(run: Run) -> None:
    made = run.start("a", "b")
    assert made.notices == ["2 volumes"] and made.stage == "loading the model"
    run.children[-1].say("notice", message="Memory ran out.")
    made.step()
    assert made.notices == ["2 volumes", "Memory ran out."] and made.errors == {}


def test_the_time_that_is_left_counts_from_the_models_being_there(run: Run, clock: SimpleNamespace) -> None:
    made = run.start("a", "b")
    run.children[-1].say("notice", message="It takes long to load.")
    clock.now = 90.0
    made.step()
    assert not made.begun and made.seconds_left is None
    run.children[-1].say("ready", device="cpu")
    clock.now = 100.0
    made.step()
    assert made.begun and made.seconds_left is None, "nothing is done yet"
    run.say("progress", "a", fraction=0.5, stage="segmenting")
    clock.now = 110.0
    made.step()
    assert made.seconds_left == 30.0, "a quarter took 10 s"
    run.finish("a")
    clock.now = 125.0
    made.step()
    assert made.seconds_left == 25.0


def test_what_was_done_before_is_no_part_of_the_speed(run: Run, clock: SimpleNamespace) -> None:
    run.add(*"abcd")
    done_before(run, "a", "b")
    made = run.start()
    clock.now = 100.0
    assert made.seconds_left is None
    run.say("progress", "c", fraction=0.0, stage="reading")
    made.step()
    assert made.begun and made.seconds_left is None
    run.say("progress", "c", fraction=0.5, stage="segmenting")
    clock.now = 106.0
    made.step()
    assert made.seconds_left == 18.0, "an eighth took 6 s, three are left"


def test_every_volume_is_done_once(run: Run) -> None:
    made = run.start("a", "b")
    for name in "ab":
        run.finish(name)
    run.end(0)
    assert not made.step() and made.state == "done" and made.fraction == 1.0 and made.errors == {}
    again = run.make()
    again.start()
    assert again.state == "done" and again.notices == ["2 volumes, 2 of them done before"] and len(run.children) == 1
    with (run.output / "statistics.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [(row["volume"], row["organ"]) for row in csv.DictReader(file)] == [
            (name, organ["name"]) for name in "ab" for organ in ORGANS]
    assert sorted(path.name for path in run.output.iterdir()) == [
        "a_segmentation.seg.nrrd", "b_segmentation.seg.nrrd", "manifest.json", "statistics.csv"]
    assert list(run.temporary.iterdir()) == []


def test_waiting_ends_with_the_run_and_not_before(run: Run, clock: SimpleNamespace) -> None:
    made = run.start("a")
    naps: list[float] = []

    def meanwhile() -> None:
        naps.append(clock.now)
        if len(naps) == 3:
            run.finish("a")
            run.end(0)

    clock.meanwhile = meanwhile
    made.wait()
    assert made.state == "done" and len(naps) == 3


def test_a_cancelled_run_leaves_no_child_and_nothing_half_done(run: Run) -> None:
    made = run.start("a")
    assert len(list(run.temporary.iterdir())) == 1
    made.cancel()
    assert made.state == "cancelled" and run.children[-1].cancelled and made.errors == {}
    assert list(run.temporary.iterdir()) == [] and not run.output.exists() and not made.step()


def test_cancelling_what_has_ended_changes_nothing(run: Run) -> None:
    made = run.start("a")
    run.finish("a")
    run.end(0)
    made.step()
    made.cancel()
    assert made.state == "done"


def test_a_child_that_dies_takes_one_case_with_it(run: Run) -> None:
    made = run.start("a", "b", "c")
    run.finish("a")
    run.say("progress", "b", fraction=0.9, stage="segmenting")
    run.end(-9)
    assert made.step() and made.state == "running"
    assert run.asked() == [["a", "b", "c"], ["c"]]
    assert made.errors["b"].startswith("'b.nrrd' could not be segmented: its process was ended by the system (signal 9")
    assert made.fraction == pytest.approx(2 / 3)
    run.finish("c")
    run.end(0)
    assert not made.step() and made.state == "done" and set(made.errors) == {"b"}


def test_a_child_that_dies_between_two_volumes_is_followed_by_another(run: Run) -> None:
    made = run.start("a", "b")
    run.finish("a")
    run.end(1)
    assert made.step() and run.asked() == [["a", "b"], ["b"]] and made.errors == {}


@pytest.mark.parametrize(("last_words", "said"), [(["Traceback:", "no torch"], "no torch"), ([], "it said nothing")])
def test_a_child_that_does_nothing_is_not_tried_again(run: Run, last_words: list[str], said: str) -> None:
    made = run.start("a", "b")
    run.end(3, *last_words)
    assert not made.step() and made.state == "failed" and len(run.children) == 1
    assert made.errors == {None: f"The process that segments ended by itself (exit code 3) before its first volume "
                                 f"and said: {said}; check that PyTorch is installed."}


def test_an_error_of_no_volume_ends_the_run_after_what_was_finished(run: Run) -> None:
    made = run.start("a", "b")
    run.finish("a")
    run.children[-1].say("error", message="The model is damaged.")
    run.end(1)
    assert not made.step() and made.state == "failed" and len(run.children) == 1
    assert made.errors == {None: "The model is damaged."}
    assert (run.output / "statistics.csv").is_file()


def test_what_is_of_no_volume_of_the_run_is_not_taken_for_one(run: Run) -> None:
    made = run.start("a")
    run.say("result", "elsewhere", seconds=1.0, organs=ORGANS)
    made.step()
    assert [case.name for case in made.waiting] == ["a"] and made.errors == {}


def test_a_result_of_an_input_that_was_exchanged_goes_when_the_new_one_fails(run: Run) -> None:
    run.add("a", "b")
    done_before(run, "a", "b")
    for name in "ab":
        (run.input / f"{name}.nrrd").write_bytes(b"other voxels")
    made = run.start()
    run.say("error", "a", message="It is broken.")
    again = run.finish("b")
    made.step()
    assert not (run.output / "a_segmentation.seg.nrrd").exists(), "it was of the input as it was before"
    assert again.is_file()


def test_a_failure_takes_away_no_file_that_is_not_ours(run: Run) -> None:
    run.output.mkdir()
    foreign = run.output / "a_segmentation.seg.nrrd"
    foreign.write_bytes(b"of another program")
    made = run.start("a", "b")
    assert run.asked() == [["b"]]
    run.say("error", "b", message="It is broken.")
    run.end()
    assert not made.step() and made.state == "done" and set(made.errors) == {"a", "b"}
    assert foreign.read_bytes() == b"of another program"
    assert "is in the place of a result" in made.errors["a"] and made.notices[:2] == [
        f"Left out: {made.errors['a']}", "2 volumes"]


def test_results_of_a_run_that_was_killed_before_it_knew_of_them_are_made_again(run: Run) -> None:
    killed = run.start("a", "b")
    run.finish("a")
    (run.output / "b_segmentation.seg.nrrd").write_bytes(b"written, and not yet said")
    killed.step()
    killed._lock.release()  # as the system does
    made = run.start()
    assert run.asked()[1:] == [["b"]] and made.errors == {}
    made.cancel()
    assert (run.output / "b_segmentation.seg.nrrd").is_file()
    assert run.make().errors == {}, "nor does a cancelled run forget"


def test_labels_that_were_corrected_are_not_lost_with_their_input(run: Run) -> None:
    run.add("a")
    done_before(run, "a")
    corrected = run.output / "a_segmentation.seg.nrrd"
    corrected.write_bytes(b"corrected by hand")
    (run.input / "a.nrrd").write_bytes(b"other voxels")
    made = run.start("b")
    assert run.asked()[1:] == [["b"]] and set(made.errors) == {"a"}
    made.cancel()
    assert corrected.read_bytes() == b"corrected by hand"


def test_a_folder_in_a_results_place_stops_nothing_else(run: Run) -> None:
    (run.output / "a_segmentation.seg.nrrd").mkdir(parents=True)
    made = run.start("a", "b")
    assert run.asked() == [["b"]] and "is a folder; name the file" in made.errors["a"]
    made.cancel()


def test_a_result_that_would_replace_another_input_stops_nothing_else(run: Run) -> None:
    run.add("a", "b", "c")
    run.output.mkdir()
    (run.output / "a_segmentation.seg.nrrd").symlink_to(run.input / "b.nrrd")
    made = run.start()
    assert set(made.errors) == {"a"} and run.asked() == [["b", "c"]]
    made.cancel()
    assert (run.input / "b.nrrd").read_bytes() == b"voxels"


def test_what_is_left_out_is_named_on_a_line_and_the_others_are_done(run: Run) -> None:
    run.add("a")
    (run.input / "lost\n.nrrd").symlink_to(run.input / "gone")
    (run.input / "old.mgz").write_bytes(b"")
    made = run.start()
    run.finish("a")
    run.end()
    made.step()
    assert made.state == "done" and len(made.errors) == 1
    assert all(line.startswith("Left out: ") and line.isprintable() for line in made.notices[:2])
    assert "lost\\n.nrrd' is a link to nothing" in made.notices[0] and "old.mgz' is of a format" in made.notices[1]


def test_what_was_done_before_does_not_count_what_is_left_out(run: Run) -> None:
    run.output.mkdir()
    (run.output / "a_segmentation.seg.nrrd").write_bytes(b"of another program")
    made = run.start("a", "b")
    assert made.notices[-1] == "2 volumes"
    made.cancel()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text on this system")
def test_a_name_that_is_no_text_is_kept_and_spelt_out(run: Run) -> None:
    name = "M\udcfcller"
    made = run.start(name)
    assert run.asked() == [[name]]
    run.finish(name)
    run.end()
    made.step()
    assert made.state == "done" and made.errors == {} and made.notices[-1].startswith("[1/1] M\\udcfcller: 1 of 2")
    assert (run.output / f"{name}_segmentation.seg.nrrd").is_file()
    assert run.make().waiting == []
    text = (run.output / "statistics.csv").read_text(encoding="utf-8-sig")
    assert "M\\udcfcller,liver" in text
    assert "ller" not in made.report()


def test_a_python_that_is_not_there_is_its_own_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("'python' cannot be started; check it.")

    monkeypatch.setattr(ScriptedChild, "start", refuse)
    made = run.start("a")
    assert made.state == "failed" and made.errors == {None: "'python' cannot be started; check it."}
    assert list(run.temporary.iterdir()) == [] and not run.output.exists()


def test_a_temporary_folder_without_room_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(batch.Request, "write", full)
    made = run.start("a")
    assert made.state == "failed" and made.errors == {
        None: f"The temporary folder '{run.temporary}' cannot be written to (No space left on device); free some "
              "space, or set TMPDIR to another folder."}


@pytest.mark.parametrize("before", [None, "The model is damaged."])
def test_a_table_that_cannot_be_written_is_said_unless_there_is_worse(run: Run, before: str | None) -> None:
    made = run.start("a")
    (run.output / "statistics.csv").mkdir()
    run.finish("a")
    if before:
        run.children[-1].say("error", message=before)
    run.end(0)
    assert not made.step() and made.state == "failed" and set(made.errors) == {None}
    assert made.errors[None] == before or "statistics.csv' could not be written" in made.errors[None]
    assert (made.errors[None] == before) == bool(before)


def test_no_word_of_a_file_steers_the_terminal(run: Run) -> None:
    made = run.start("a", "b")
    run.say("error", "a", message="It is \x1b[2J broken.\nReally.")
    run.say("notice", "b", message="a\rb")
    run.children[-1].say("error", message="The model is \x1b]0;evil\x07 damaged.")
    run.end(1)
    made.wait()
    lines = [*made.notices, *made.errors.values()]
    assert made.errors[None] == "The model is \\x1b]0;evil\\x07 damaged." and all(map(str.isprintable, lines))


def test_whoever_looks_at_the_manifest_during_a_run_finds_it_whole(run: Run) -> None:
    """At any moment, also after a run was killed, and of the next one."""
    names = [f"{number:02}" for number in range(12)]
    manifest, looked = run.output / "manifest.json", 0
    run.add(*names)
    for killed_after in (5, 12):
        made = run.make()
        made.start()
        for name in [case.name for case in made.waiting][:killed_after]:
            run.finish(name)
            made.step()
            content = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {"format_version": 1}
            assert content["format_version"] == 1
            assert name in Manifest(manifest, made.manifest.run).cases
            looked += 1
        made._lock.release()  # as the system does where a run is killed
    assert looked == 12 and not run.make().waiting


def test_only_one_run_writes_to_a_folder(run: Run) -> None:
    first = run.start("a")
    second = run.make()
    second.start()
    assert second.state == "failed" and "Another run is writing to" in second.errors[None]
    assert first.state == "running" and not run.children[0].cancelled
    first.cancel()
    third = run.make()
    third.start()
    assert third.state == "running"
    third.cancel()


def test_the_report_counts_volumes_and_names_none(run: Run) -> None:
    """Files are named after patients."""
    made = run.start("Meyer", "Meyer Anna")
    run.finish("Meyer")
    made.step()
    run.end(1, "Meyer Anna.nrrd and Meyer.nrrd", str(run.output / "Meyer_segmentation.seg.nrrd"))
    said = made.report().splitlines()
    assert "volumes: 2" in said and "waiting: 1" in said and "Meyer" not in made.report()
    assert " and " in said[-2] and said[-1].endswith(" parts, .seg.nrrd>")


def test_a_child_is_asked_for_what_was_asked_of_the_run(run: Run, tmp_path: Path) -> None:
    made = run.start("a", options=Options(("liver",), "cpu", 3), base=tmp_path / "base.safetensors", pattern="a*")
    [child] = run.children
    assert child.command[-5:-2] == ["SAMoraLib", "predict", "--request"] and child.command[-1] == "--json"
    kept = {name: child.request[name] for name in ("organs", "device", "batch_size", "base", "model")}
    assert kept == {"organs": ["liver"], "device": "cpu", "batch_size": 3, "model": str(run.model),
                    "base": str(tmp_path / "base.safetensors")}
    made.cancel()


def test_the_manifest_tells_how_every_case_ended(run: Run) -> None:
    made = run.start("a", "b")
    run.finish("a")
    run.say("error", "b", message="It is broken.")
    made.step()
    noted = Manifest(run.output / "manifest.json", made.manifest.run).cases
    made.cancel()
    cases = json.loads((run.output / "manifest.json").read_text(encoding="utf-8"))["cases"]
    assert {name: state["status"] for name, state in cases.items()} == {"a": "done", "b": "failed"} and noted == cases
    assert cases["a"]["seconds"] == 2.04 and cases["b"]["message"] == "It is broken."
    assert (run.output / "statistics.csv").is_file()


@pytest.mark.slow
def test_the_last_of_ten_thousand_volumes_costs_what_the_first_does(run: Run) -> None:
    """All of a run's own work for a case, within 1.5 of what it takes at the start; the volumes are links to one."""
    count, stored = 10_000, run.input.parent / "stored.nrrd"
    stored.write_bytes(b"voxels")
    for number in range(count):
        (run.input / f"{number:05}.nrrd").symlink_to(stored)
    started = time.perf_counter()
    made = run.make()
    print(f"looked through in {time.perf_counter() - started:.1f} s")
    made.start()
    seconds = []
    for number in range(count):
        run.finish(f"{number:05}")
        started = time.perf_counter()
        made.step()
        seconds.append(time.perf_counter() - started)
    start, end = sorted(seconds[100:1100])[500], sorted(seconds[-1000:])[500]
    print(f"{1e3 * start:.3f} ms a case at the start, {1e3 * end:.3f} ms at the end, ratio {end / start:.2f}")
    run.end()
    started = time.perf_counter()
    assert not made.step() and made.state == "done" and len(made.manifest.cases) == count
    print(f"ended in {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    assert run.make().waiting == [] and end <= 1.5 * start
    print(f"found done again in {time.perf_counter() - started:.1f} s")
