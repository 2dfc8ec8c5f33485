"""The command line as its user sees it: exit codes, messages, files, JSON lines."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from SAMoraLib.card import read_card
from SAMoraLib.checkpoint import load_model, save_model
from SAMoraLib.cli import CT_ABDOMEN, LEAST_TO_START, describe, main, make_parser, start_computing
from SAMoraLib.inference.device import check_precision
from SAMoraLib.kernels.linear import Linear
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import Prediction, SegmentationModel
from SAMoraLib.request import Job, Options, Request
from SAMoraLib.volume import Region, Volume
from SAMoraLib.volume.io import read_volume, write_volume
from Testing.folders import ROOT
from Testing.small import small_card, small_model, write_bare

TILTED = (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8)  # oblique, with exchanged axes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = small_model("samed")
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, model, small_card(model.variant))
    return path


def ct(seed: int = 0) -> Volume:
    rng = np.random.default_rng(seed)
    array = np.full((5, 30, 40), -1000, np.int16)
    array[:, 5:25, 5:35] = rng.integers(-100, 200, (5, 20, 30))
    return Volume(array, (2.0, 3.0, 5.0), (-12.5, 40.0, 7.0), TILTED)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    write_volume(ct(), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def predict(checkpoint: Path, *arguments: object) -> int:
    return main(["predict", *map(str, arguments), "--model", str(checkpoint), "--device", "cpu"])


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz", ".nrrd", ".mha"])
def test_predict_writes_labels_on_the_inputs_grid(checkpoint: Path, volume: Path, tmp_path: Path, ending: str) -> None:
    assert predict(checkpoint, volume, "--output", tmp_path / "out", "--format", ending) == 0
    found, source = read_volume(tmp_path / f"out/ct_segmentation{ending}"), read_volume(volume)
    assert found.array.shape == source.array.shape
    assert found.array.dtype == np.uint8
    assert found.array.any()
    assert np.allclose(found.ijk_to_lps, source.ijk_to_lps, atol=1e-4)


def test_a_single_input_can_name_its_file(checkpoint: Path, volume: Path, tmp_path: Path) -> None:
    assert predict(checkpoint, volume, "--output", tmp_path / "labels.nrrd") == 0
    assert (tmp_path / "labels.nrrd").is_file()


def test_json_lines_tell_progress_and_result(checkpoint: Path, volume: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(checkpoint, volume, "--output", tmp_path / "out", "--json", "--batch-size", "2") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "ready" and events[-1]["event"] == "result"
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) >= 5
    organs = events[-1]["organs"]
    assert [organ["name"] for organ in organs] == ["liver", "right_kidney", "left_kidney", "spleen"]
    written = read_volume(events[-1]["output"]).array
    for value, organ in enumerate(organs, start=1):
        inside = written == value
        assert organ["voxels"] == inside.sum()
        assert organ["found"] == inside.any()
        assert organ["volume_ml"] == pytest.approx(inside.sum() * 0.03)
        if inside.any():
            assert organ["mean_intensity"] == pytest.approx(ct().array[inside].mean())
        assert (0.25 < organ["confidence"] <= 1) if inside.any() else organ["confidence"] is None


def test_without_options_the_command_line_asks_for_what_a_request_does() -> None:
    found, asked = make_parser().parse_args(["predict", "ct.nrrd"]), Options()
    for name in ("organs", "device", "batch_size", "skim", "max_memory", "precision", "assume_hu"):
        assert getattr(found, name) == getattr(asked, name), name
    assert (found.format, found.output, found.region, found.boxes) == (".seg.nrrd", Path(), None, [])
    assert not found.json and not found.resume


def test_the_demo_is_the_phantom_of_the_documents_unless_another_is_asked_for() -> None:
    found = make_parser().parse_args(["demo"])
    assert (found.seed, found.output, found.json) == (7, Path("demo-output"), False)
    assert make_parser().parse_args(["demo", "--seed", "0"]).seed == 0


def test_resume_leaves_out_what_is_there_already(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                 ) -> None:
    inputs, out = [tmp_path / f"{name}.nrrd" for name in "ab"], tmp_path / "out"
    for seed, path in enumerate(inputs):
        write_volume(ct(seed), path)
    done, missing = (out / f"{path.stem}_segmentation.nrrd" for path in inputs)
    out.mkdir()
    write_volume(ct().with_array(np.ones(ct().array.shape, np.uint8)), done)
    before = done.read_bytes()
    options = ["--output", out, "--format", ".nrrd"]
    assert predict(checkpoint, *inputs, *options, "--resume") == 0
    assert done.read_bytes() == before and missing.stat().st_size > 200
    assert predict(checkpoint, *inputs, *options, "--resume") == 0
    assert "Nothing is left to do" in capsys.readouterr().err
    assert predict(checkpoint, *inputs, *options) == 0
    assert done.read_bytes() != before


def test_two_runs_with_resume_share_the_work(checkpoint: Path, tmp_path: Path) -> None:
    """In processes of their own, at once: together they write each result once."""
    inputs = [tmp_path / f"{name}.nrrd" for name in "abcdef"]
    for seed, path in enumerate(inputs):
        write_volume(ct(seed), path)
    command = [sys.executable, "-m", "SAMoraLib", "predict", *inputs, "--output", tmp_path / "out", "--resume",
               "--json", "--model", checkpoint, "--device", "cpu"]
    runs = [subprocess.Popen([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    events = [json.loads(line) for run in runs for line in run.communicate()[0].splitlines()]
    assert [run.returncode for run in runs] == [0, 0]
    written = [event["volume"] for event in events if event["event"] == "result"]
    assert sorted(written) == sorted(map(str, inputs))
    assert len(list((tmp_path / "out").iterdir())) == len(inputs)


def test_threads_are_what_is_asked_for(checkpoint: Path, volume: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert predict(checkpoint, volume, "--output", tmp_path / "out", "--threads", 3) == 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("content", [b"", b"done before"])
def test_what_is_no_result_is_not_taken_for_one(checkpoint: Path, volume: Path, tmp_path: Path, content: bytes) -> None:
    output = tmp_path / "labels.nrrd"
    output.write_bytes(content)
    assert predict(checkpoint, volume, "--output", output, "--resume") == 0
    assert read_volume(output).array.dtype == np.uint8


@pytest.mark.parametrize("folder", ["plain", "with space", "Übung é", "患者フォルダ"])
def test_a_request_file_does_what_the_options_do(checkpoint: Path, tmp_path: Path, folder: str,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / folder
    write_volume(ct(), folder / "ct.nrrd")
    region = Region.between((-60, -60, -60), (20, 100, 40))
    jobs = (Job(folder / "ct.nrrd", folder / "a.nrrd", region), Job(folder / "ct.nrrd", folder / "b.nrrd"))
    Request(jobs, checkpoint, options=Options(("liver", "spleen"), "cpu", 2)).write(folder / "request.json")
    assert main(["predict", "--request", str(folder / "request.json"), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["output"] for event in events if event["event"] == "result"] == [str(job.output) for job in jobs]
    options = ["--organs", "liver,spleen", "--output"]
    predict(checkpoint, folder / "ct.nrrd", *options, folder / "c.nrrd", "--region=-60,20,-60,100,-60,40")
    predict(checkpoint, folder / "ct.nrrd", *options, folder / "d.nrrd")
    a, b, c, d = (read_volume(folder / f"{name}.nrrd").array for name in "abcd")
    assert np.array_equal(a, c) and np.array_equal(b, d) and not np.array_equal(a, b)


def test_a_damaged_request_is_refused_before_torch_is_loaded(tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text("{", encoding="utf-8")
    assert main(["predict", "--request", str(tmp_path / "r.json"), "--json"]) == 1
    assert "is not JSON" in json.loads(capsys.readouterr().out)["message"]


def test_a_missing_package_is_one_sentence(checkpoint: Path, volume: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "SAMoraLib.inference.predict_files", None)  # what a missing torch does to it
    assert predict(checkpoint, volume, "--json") == 1
    assert "is missing or damaged; install it" in json.loads(capsys.readouterr().out)["message"]


def test_organs_leave_the_others_out_without_changing_them(checkpoint: Path, volume: Path, tmp_path: Path) -> None:
    predict(checkpoint, volume, "--output", tmp_path / "all.nrrd")
    predict(checkpoint, volume, "--output", tmp_path / "some.nrrd", "--organs", "spleen,liver")
    everything, some = (read_volume(tmp_path / name).array for name in ("all.nrrd", "some.nrrd"))
    assert np.array_equal(some, np.where(np.isin(everything, (1, 4)), everything, 0))
    assert not np.array_equal(some, everything)


def test_one_refused_volume_does_not_stop_the_others(checkpoint: Path, volume: Path, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"not a volume")
    assert predict(checkpoint, tmp_path / "broken.nii.gz", volume, "--output", tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ct_segmentation.seg.nrrd"]
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("samora: 'broken.nii.gz' cannot be read")
    assert "Traceback" not in message


@pytest.mark.parametrize("limit", [[], ["--max-memory", "64"]])
def test_the_toolkit_adds_nothing_to_the_sentence(checkpoint: Path, tmp_path: Path, limit: list[str],
                                                  capfd: pytest.CaptureFixture[str]) -> None:
    """ITK warns past Python, on the process's own standard error."""
    (tmp_path / "no slices").mkdir()
    assert predict(checkpoint, tmp_path / "no slices", "--output", tmp_path / "out", *limit) == 1
    assert capfd.readouterr().err.splitlines() == [
        "samora: The folder 'no slices' holds no DICOM series; give a folder with exactly one."]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--organs", "heart"], "'heart' is not an organ of this model; choose from liver, right_kidney"),
    (["--device", "cuda:9"], "Device 'cuda:9' is not on this machine; choose from auto, cpu"),
    (["--model", "nowhere.safetensors"], "There is no checkpoint 'nowhere.safetensors'"),
    (["--region", "900,901,0,1,0,1"], "does not meet the volume"),
    (["--output", "{input}"], "would overwrite the input"),
    (["--output", "labels.dcm"], "'labels.dcm' is not of a format that can be written; choose from .nii.gz"),
    (["--output", "{input}/out"], "ct.nii.gz' is not a folder; choose another output"),
    (["--format", ".mha", "--output", "{long}"], "and the file system allows 255"),
])
def test_refusals_are_one_sentence_and_write_nothing(checkpoint: Path, volume: Path, tmp_path: Path,
                                                     arguments: list[str], message: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    before = volume.read_bytes()
    arguments = [argument.format(input=volume, long="a" * 260) for argument in arguments]
    defaults = ["predict", str(volume), "--model", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main([*defaults, *arguments]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and message in said[0]
    assert not (tmp_path / "out").exists()
    assert volume.read_bytes() == before


def test_a_refusal_before_work_is_a_json_line_too(checkpoint: Path, volume: Path, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(checkpoint, volume, "--organs", "heart", "--output", tmp_path / "out", "--json") == 1
    assert "'heart' is not an organ" in json.loads(capsys.readouterr().out)["message"]


@pytest.mark.parametrize(("precision", "dtype"), [("full", torch.float32), ("half", torch.bfloat16)])
def test_precision_reaches_the_model(checkpoint: Path, volume: Path, tmp_path: Path, precision: str, dtype: torch.dtype,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    seen, forward = set(), SegmentationModel.forward

    def watched(model: SegmentationModel, image: torch.Tensor) -> Prediction:
        prediction = forward(model, image)
        seen.add(prediction.low_res_logits.dtype)
        return prediction

    monkeypatch.setattr("SAMoraLib.inference.predict_files.check_precision", lambda *_: None)  # whatever the CPU can
    monkeypatch.setattr(SegmentationModel, "forward", watched)
    assert predict(checkpoint, volume, "--output", tmp_path / "labels.nrrd", "--precision", precision) == 0
    assert seen == {dtype}


def test_8_bits_reach_the_encoder(checkpoint: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                  ) -> None:
    seen, forward = set(), SegmentationModel.forward

    def watched(model: SegmentationModel, image: torch.Tensor) -> Prediction:
        seen.update(layer.int8 is not None for layer in model.image_encoder.blocks.modules()
                    if isinstance(layer, Linear))
        return forward(model, image)

    monkeypatch.setattr("SAMoraLib.kernels.linear.FEW_WEIGHTS", 1)
    monkeypatch.setattr("SAMoraLib.inference.predict_files.check_precision", lambda *_: None)
    monkeypatch.setattr("SAMoraLib.kernels.linear.int8_product", lambda x, weight, bias: torch.nn.functional.linear(
        x, (weight.values * weight.scales).T, bias))  # whatever this CPU can do
    monkeypatch.setattr(SegmentationModel, "forward", watched)
    assert predict(checkpoint, volume, "--output", tmp_path / "labels.nrrd", "--precision", "int8") == 0
    assert seen == {True}


def test_half_precision_is_refused_before_work(checkpoint: Path, volume: Path, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fpu avx2\n", encoding="utf-8")
    monkeypatch.setattr("SAMoraLib.inference.predict_files.check_precision",
                        partial(check_precision, listed=tmp_path / "cpuinfo"))
    for precision, numbers in {"half": "in bfloat16", "int8": "8-bit integers"}.items():
        assert predict(checkpoint, volume, "--output", tmp_path / "out", "--precision", precision) == 1
        assert f"This CPU does not multiply {numbers}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failing_device_refuses_one_volume(checkpoint: Path, volume: Path, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal address.\nmore")

    monkeypatch.setattr("SAMoraLib.inference.predictor.Predictor.predict_with_confidence", failing)
    assert predict(checkpoint, volume, "--output", tmp_path / "out") == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said == ["samora: 'ct.nii.gz' could not be segmented (CUDA error: an illegal address); try again, and if it "
                    "stays so, report it."]


def test_a_full_memory_is_told_step_by_step(checkpoint: Path, volume: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("SAMoraLib.inference.predictor.Predictor.predict_with_confidence", full)
    assert predict(checkpoint, volume, "--output", tmp_path / "out", "--json", "--batch-size", 2) == 1
    *_, notice, error = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert notice == {"event": "notice", "message": "Memory ran out on cpu; 'ct.nii.gz' starts again slice by slice."}
    assert error["volume"] == str(volume) and "does not fit into memory" in error["message"]


@pytest.mark.parametrize(("error", "said"), [
    (MemoryError(), "There is not enough memory"), (RuntimeError("std::bad_alloc"), "There is not enough memory"),
    (ImportError("_C.so: failed to map segment from shared object", name="_C"), "There is not enough memory"),
    (ImportError("No module named 'scipy'", name="scipy"), "The Python package 'scipy' is missing or damaged")])
def test_why_nothing_was_begun_is_the_true_cause(volume: Path, tmp_path: Path, error: Exception, said: str,
                                                 monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
                                                 ) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("SAMoraLib.cli.start_computing", fail)
    assert main(["predict", str(volume), "--output", str(tmp_path / "out"), "--json"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"samora: {said}") and err.count("\n") == 1
    assert said in json.loads(out)["message"]


def test_a_fault_of_ours_stays_a_traceback(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("SAMoraLib.cli.start_computing", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["predict", str(volume)])


def test_without_room_for_the_libraries_none_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("SAMoraLib.cli.address_space_left", lambda: LEAST_TO_START - 1)
    monkeypatch.setattr("SAMoraLib.cli.keep_freed_memory", lambda: pytest.fail("it began"))
    with pytest.raises(MemoryError):
        start_computing()
    monkeypatch.setattr("SAMoraLib.cli.address_space_left", lambda: LEAST_TO_START)
    with pytest.raises(pytest.fail.Exception, match="it began"):
        start_computing()


def test_a_cpu_that_fails_is_not_told_to_be_chosen(checkpoint: Path, volume: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("an internal error")

    monkeypatch.setattr("SAMoraLib.inference.predictor.Predictor.predict_with_confidence", failing)
    assert predict(checkpoint, volume, "--output", tmp_path / "out") == 1
    assert capsys.readouterr().err == ("samora: 'ct.nii.gz' could not be segmented (an internal error); try again, and "
                                       "if it stays so, report it.\n")


def test_inputs_of_one_name_are_told_apart_by_their_folders(checkpoint: Path, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    for folder in "ab":
        write_volume(ct(), tmp_path / folder / "ct.nrrd")
    assert predict(checkpoint, tmp_path / "a/ct.nrrd", tmp_path / "b/ct.nrrd", "--output", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_ct_segmentation.seg.nrrd",
                                                                    "b_ct_segmentation.seg.nrrd"}
    assert predict(checkpoint, tmp_path / "a/ct.nrrd", tmp_path / "b/ct.nrrd", "--output", tmp_path / "o.nrrd") == 1
    assert "names one file for 2 inputs" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["predict"], ["predict", "x", "--model", "m", "--region", "1,2,3"],
                                       ["predict", "x", "--model", "m", "--region", "2,1,0,1,0,1"], ["fly"],
                                       ["predict", "x", "--model", "m", "--batch-size", "0"],
                                       ["predict", "x", "--model", "m", "--batch-size", "-1"],
                                       ["predict", "x", "--model", "m", "--organs", ","],
                                       ["predict", "--model", "m"],
                                       ["predict", "x", "--request", "r.json"],
                                       ["predict", "--model", "m", "--request", "r.json"],
                                       ["predict", "x", "--model", "m", "--region=nan,1,0,1,0,1"],
                                       ["predict", "x", "--model", "m", "--box", "-1,1,0,1,0,1"],
                                       ["predict", "x", "--model", "m", "--box", "liver=1,2"],
                                       ["predict", "x", "--model", "m", *["--box", "liver=0,1,0,1,0,1"] * 2],
                                       ["demo", "--seed", "-1"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_an_interruption_ends_with_130_and_no_file(checkpoint: Path, volume: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("SAMoraLib.inference.predict_files.write_segmentation", interrupted)
    assert predict(checkpoint, volume, "--output", tmp_path / "out") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_it_as_an_interruption(checkpoint: Path, tmp_path: Path, name: str, code: int) -> None:
    array = np.tile(ct().array, (200, 1, 1))
    write_volume(Volume(array, (2.0, 3.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), tmp_path / "ct.nrrd")
    command = [sys.executable, "-m", "SAMoraLib", "predict", tmp_path / "ct.nrrd", "--output", tmp_path / "out",
               "--model", checkpoint, "--device", "cpu", "--json", "--batch-size", "1", "--resume"]
    with subprocess.Popen([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                          ) as child:
        assert child.stdout is not None and child.stderr is not None
        while "segmenting" not in child.stdout.readline():
            pass
        child.send_signal(getattr(signal, name))
        said = child.stderr.read()
    assert child.returncode == code
    assert "interrupted" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("redirection", ["--json > /dev/full 2> /dev/full", ">&- 2>&-", "| head -1"])
@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix redirects")
def test_what_becomes_of_lines_decides_nothing(checkpoint: Path, tmp_path: Path, redirection: str) -> None:
    """In a process of its own: a name that no code page holds, and streams that take nothing."""
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    odd = os.fsdecode(b"\xff") if sys.platform == "linux" else ""
    path = tmp_path / f"患者{odd}" / f"患者{odd}.nii.gz"
    write_volume(ct(), path)
    command = ["predict", path, "--output", path.parent, "--model", checkpoint, "--device", "cpu"]
    line = " ".join(shlex.quote(str(word)) for word in (sys.executable, "-m", "SAMoraLib", *command))
    found = subprocess.run(["bash", "-c", f"{line} {redirection}; exit ${{PIPESTATUS[0]}}"], cwd=ROOT, check=False,
                           env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert b"Traceback" not in found.stderr and b"Exception" not in found.stderr
    assert read_volume(path.with_name(f"患者{odd}_segmentation.seg.nrrd")).array.any()


def test_organs_are_understood_as_the_table_prints_them(checkpoint: Path, volume: Path, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--output", tmp_path / "labels.nrrd", "--json", "--organs"]
    assert predict(checkpoint, volume, *options, " LEFT kidney, Spleen ,spleen") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [organ["name"] for organ in result["organs"]] == ["left_kidney", "spleen"]
    assert set(np.unique(read_volume(tmp_path / "labels.nrrd").array)) <= {0, 3, 4}
    assert predict(checkpoint, volume, *options, "kidney") == 1
    assert "(did you mean left_kidney or right_kidney?)" in capsys.readouterr().err


@pytest.mark.parametrize("order", [1, -1])
def test_an_input_that_has_a_results_name_is_kept(checkpoint: Path, volume: Path, order: int,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    folder = volume.parent
    write_volume(ct(1), folder / "ct_segmentation.nii.gz")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    inputs = [volume, folder / "ct_segmentation.nii.gz"][::order]
    assert predict(checkpoint, *inputs, "--output", folder, "--format", ".nii.gz") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    said, = capsys.readouterr().err.splitlines()
    assert "would overwrite the input" in said and "ct_segmentation.nii.gz'; choose another output." in said


def test_a_result_is_named_after_the_link(checkpoint: Path, volume: Path, tmp_path: Path) -> None:
    (tmp_path / "sub-01_ct.nii.gz").symlink_to(volume.rename(tmp_path / "MD5E-aabbcc"))
    assert predict(checkpoint, tmp_path / "sub-01_ct.nii.gz", "--output", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sub-01_ct_segmentation.seg.nrrd"]


def test_info_prints_the_card(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint)]) == 0
    text = capsys.readouterr().out
    assert "samed" in text and "left_kidney" in text and "CT" in text
    assert main(["info", str(checkpoint), "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text) == json.loads(json.dumps(read_card(checkpoint).to_json()))
    assert text.startswith('{\n  "'), "a field a line"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_card_that_could_not_be_printed_is_a_refusal(checkpoint: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert main(["info", str(checkpoint)]) == 1
        monkeypatch.undo()
    assert capsys.readouterr().err == ("samora: Standard output could not be written (No space left on device), which "
                                       "result files do not depend on; make room, or send it elsewhere.\n")


def test_merge_halves_the_file(checkpoint: Path, tmp_path: Path) -> None:
    assert main(["merge", str(checkpoint), "--half", "--output", str(tmp_path / "half.safetensors")]) == 0
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * checkpoint.stat().st_size
    model, card = load_model(tmp_path / "half.safetensors")
    assert next(model.parameters()).dtype.is_floating_point and card.base is None


def test_without_a_model_the_one_in_the_package_is_taken(tmp_path: Path) -> None:
    write_volume(ct(), tmp_path / "ct.nrrd")
    assert main(["predict", str(tmp_path / "ct.nrrd"), "--output", str(tmp_path / "out"), "--json"]) == 0
    written = (tmp_path / "out" / "ct_segmentation.seg.nrrd").read_bytes()
    assert b"Pancreas" in written and CT_ABDOMEN.stat().st_size <= 16e6


def test_a_box_per_organ_is_all_that_is_segmented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model("ma_sam_box")
    save_model(tmp_path / "m.safetensors", model, small_card(model.variant))
    write_volume(ct(), tmp_path / "ct.nrrd")
    asked = ["--box", "liver=-60,20,-60,100,-60,40", "--json"]
    assert main(["predict", str(tmp_path / "ct.nrrd"), "--model", str(tmp_path / "m.safetensors"), "--output",
                 str(tmp_path / "out.nrrd"), *asked]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [organ["name"] for organ in result["organs"]] == ["liver"]
    found = read_volume(tmp_path / "out.nrrd").array
    assert set(np.unique(found)) <= {0, get_label_set("chaos_mr").by_name("liver").value}


STEERING = "\x1b]0;title\x07\x9b2J\u202e"


def test_nothing_that_is_printed_of_a_card_steers_the_terminal(checkpoint: Path, capsys: pytest.CaptureFixture[str]
                                                               ) -> None:
    """Whatever its texts are: of a file they are refused, of a card that never was in one they are spelt out."""
    card = read_card(checkpoint)
    steering = replace(card, name=STEERING, licence=STEERING, description=f"a\nb{STEERING}",
                       training={STEERING: STEERING}, metrics={"a": [STEERING]})
    assert all(line.isprintable() for line in describe(steering).splitlines())
    assert len(describe(steering).splitlines()) <= 12
    write_bare(checkpoint, json.dumps(steering.to_json()))
    for arguments in (["info", str(checkpoint)], ["info", str(checkpoint), "--json"]):
        assert main(arguments) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.rstrip("\n").isprintable() and "card is damaged" in printed.err
