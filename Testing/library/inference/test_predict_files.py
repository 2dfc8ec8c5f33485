"""Any number of volumes with one model: what is written, told and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

import SAMoraLib.inference.predict_files as predict_files_module
from SAMoraLib.checkpoint import save_model
from SAMoraLib.inference.predict_files import predict_files, refusal
from SAMoraLib.request import Job, Options, Request
from SAMoraLib.volume import Region, Volume
from SAMoraLib.volume.io import read_volume, write_volume
from Testing.library.volume import dicom_files as files
from Testing.library.volume.test_dicom_codestream import jpeg
from Testing.small import small_card, small_model

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
JOB = Job(Path("folder/ct.nrrd"), Path("out.nrrd"))


def save(folder: Path, variant: str = "samed") -> Path:
    model = small_model(variant)
    save_model(folder / "model.safetensors", model, small_card(model.variant))
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model"))


def write_ct(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    array = np.full((3, 24, 24), -1000, np.int16)
    array[:, 4:20, 4:20] = rng.integers(-100, 200, (3, 16, 16))
    write_volume(Volume(array, (3.0, 3.0, 5.0), (0.0, 0.0, 0.0), IDENTITY), path)
    return path


def run(jobs: list[Job], checkpoint: Path, capsys: pytest.CaptureFixture[str], **options: Any
        ) -> tuple[int, list[dict[str, Any]]]:
    """How many were refused, and the events."""
    refused = predict_files(Request(tuple(jobs), checkpoint, options=Options(device="cpu", **options)), as_json=True)
    return refused, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_refused_volumes_are_counted_and_the_others_written(checkpoint: Path, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.nrrd").write_bytes(b"no volume")
    inputs = [tmp_path / "missing.nrrd", write_ct(tmp_path / "a.nrrd"), tmp_path / "broken.nrrd",
              write_ct(tmp_path / "b.nrrd", 1)]
    jobs = [Job(path, tmp_path / "out" / path.name) for path in inputs]
    refused, events = run(jobs, checkpoint, capsys)
    assert refused == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.nrrd", "b.nrrd"}
    assert events[0] == {"event": "ready", "model": "small", "device": "cpu", "volumes": 4}
    ends = [(event["event"], Path(event["volume"]).name) for event in events if event["event"] in ("error", "result")]
    assert ends == [("error", "missing.nrrd"), ("result", "a.nrrd"), ("error", "broken.nrrd"), ("result", "b.nrrd")]
    progress = [event["fraction"] for event in events if event.get("volume") == str(inputs[1])
                and event["event"] == "progress"]
    assert progress[0] == 0 and progress[-1] == 1 and progress == sorted(progress)
    seconds = [event["seconds"] for event in events if event["event"] == "result"]
    assert all(0 <= second < 60 for second in seconds)


def test_nothing_is_printed_but_our_sentences(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
                                              ) -> None:
    """Whatever a decoder says of a damaged file by itself."""

    def damaged(number: int, data: Any) -> None:
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.PixelData = encapsulate([b"\xff\xd8" + jpeg(8, 9, 1, 0xC0)[14:] + b"\xff\xda\0\x08\1\1\0\0\0\0\xff\xd9"])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True

    path = write_ct(tmp_path / "cut.mha")
    path.write_bytes(path.read_bytes()[:-1])
    jobs = [Job(source, tmp_path / f"{number}.nrrd")
            for number, source in enumerate((path, files.series(tmp_path / "ct", damaged, 3)))]
    assert predict_files(Request(tuple(jobs), checkpoint, options=Options(device="cpu"))) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("samora: 'cut.mha'") and "The DICOM series in 'ct'" in lines[1]


def test_freed_memory_is_given_back_before_a_volume_is_read(checkpoint: Path, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a reader finds less free than there is, and refuses a volume for it."""
    done: list[str] = []
    monkeypatch.setattr(predict_files_module, "give_back_freed_memory", lambda: done.append("gave back"))
    monkeypatch.setattr(predict_files_module, "read_volume", lambda path, _: done.append("read") or read_volume(path))
    assert run([Job(write_ct(tmp_path / "a.nrrd"), tmp_path / "out.nrrd")], checkpoint, capsys)[0] == 0
    assert done == ["gave back", "read"]


def test_where_all_is_well_none_is_refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                           ) -> None:
    job = Job(write_ct(tmp_path / "a.nrrd"), tmp_path / "out.nrrd")
    refused, events = run([job], checkpoint, capsys, organs=("spleen", "liver"))
    assert refused == 0 and not [event for event in events if event["event"] == "notice"]
    assert [organ["name"] for organ in events[-1]["organs"]] == ["liver", "spleen"]
    assert set(np.unique(read_volume(tmp_path / "out.nrrd").array)) <= {0, 1, 4}


def save_for(folder: Path, modality: str, name: str) -> Path:
    """A small model for another modality."""
    model = small_model("samed")
    card = small_card(model.variant)
    assert card.preprocessing is not None
    card = replace(card, name=name, preprocessing=replace(card.preprocessing, modality=modality, intensity="percentile",
                                                          low=1, high=99))
    save_model(folder / f"{name}.safetensors", model, card)
    return folder / f"{name}.safetensors"


def test_a_model_for_what_an_input_looks_like_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And who knows better may have it segmented all the same."""
    model, array = save(tmp_path), np.random.default_rng(0).integers(0, 900, (8, 40, 40)).astype(np.int16)
    array[:, :10] = 0
    write_volume(Volume(array, (6, 6, 6), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), tmp_path / "mr.nrrd")
    job = Job(tmp_path / "mr.nrrd", tmp_path / "out.nrrd")
    refused, events = run([job], model, capsys)
    assert refused == 1 and "looks like an MR" in events[-1]["message"] and "there is" not in events[-1]["message"]
    save_for(tmp_path, "any", "abdomen_any")
    refused, events = run([job], model, capsys)
    assert refused == 1 and events[-1]["message"].endswith("For MR there is the model 'abdomen_any'.")
    save_for(tmp_path, "MR", "abdomen_mr")  # made for MR alone, and so the better choice
    (tmp_path / "broken.safetensors").write_bytes(b"no checkpoint")
    refused, events = run([job], model, capsys)
    assert refused == 1 and events[-1]["message"].endswith("For MR there is the model 'abdomen_mr'.")
    assert not job.output.exists()
    assert run([job], model, capsys, assume_hu=True)[0] == 0 and job.output.exists()


def test_where_nothing_is_found_it_is_told(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_files_module, "predict_within_memory",
                        lambda predictor, volume, *_: (volume.with_array(np.zeros(volume.array.shape, np.uint8)), {}))
    refused, events = run([Job(write_ct(tmp_path / "a.nrrd"), tmp_path / "out.nrrd")], checkpoint, capsys)
    assert refused == 0
    assert "Nothing was found in 'a.nrrd'" in next(event["message"] for event in events if event["event"] == "notice")


def test_an_unknown_organ_is_refused_before_work(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                 ) -> None:
    box = {"heart": Region.between((0, 0, 0), (10, 10, 10))}
    for job, organs in ((JOB, ("liver", "heart")), (Job(JOB.input, JOB.output, boxes=box), None)):
        with pytest.raises(ValueError, match="'heart' is not an organ of this model"):
            run([job], checkpoint, capsys, organs=organs)
    assert capsys.readouterr().out == ""


def test_a_box_names_the_organs_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = {"spleen": Region.between((0, 0, 0), (50, 60, 15))}
    job = Job(write_ct(tmp_path / "a.nrrd"), tmp_path / "out.nrrd", boxes=boxes)
    refused, events = run([job], save(tmp_path, "ma_sam_box"), capsys)
    assert refused == 0
    assert [organ["name"] for organ in events[-1]["organs"]] == ["spleen"]


def test_two_boxes_for_one_organ_are_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = Region.between((0, 0, 0), (10, 10, 10))
    with pytest.raises(ValueError, match=r"Several boxes are given for one organ \(spleen, Spleen\)"):
        run([Job(JOB.input, JOB.output, boxes={"spleen": box, "Spleen": box})], checkpoint, capsys)


def test_the_base_beside_the_checkpoint_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model("samed")
    card = replace(small_card(model.variant), base={"name": "base.nrrd", "sha256": "0" * 64})
    save_model(tmp_path / "model.safetensors", model, card)
    (tmp_path / "base.nrrd").write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"would overwrite the base '.*base\.nrrd'"):
        run([Job(write_ct(tmp_path / "a.nrrd"), tmp_path / "base.nrrd")], tmp_path / "model.safetensors", capsys)
    assert (tmp_path / "base.nrrd").read_bytes() == b"weights"


def test_that_fewer_slices_run_at_once_is_told(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("SAMoraLib.inference.memory.free_bytes", lambda device, limit: 1)
    job = Job(write_ct(tmp_path / "a.nrrd"), tmp_path / "out.nrrd")
    refused, events = run([job], checkpoint, capsys)
    assert refused == 0
    assert [event["message"] for event in events if event["event"] == "notice"] == [
        "'a.nrrd' runs with 1 slices at once, which is what fits into memory."]


def test_options_reach_the_predictor(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    predictor = predict_files_module.Predictor

    def watched(*arguments: Any, **named: Any) -> Any:
        made.update(named)
        return predictor(*arguments, **named)

    monkeypatch.setattr(predict_files_module, "Predictor", watched)
    run([Job(write_ct(tmp_path / "a.nrrd"), tmp_path / "out.nrrd")], checkpoint, capsys, batch_size=3, skim=2)
    assert made == {"batch_size": 3, "skim": 2}


@pytest.mark.parametrize(("error", "sentence"), [
    (MemoryError(), "'ct.nrrd' does not fit into memory, not even slice by slice on the CPU; close other programs, or "
                    "crop or resample it."),
    (RuntimeError("CUDA out of memory. Tried"), "'ct.nrrd' does not fit into memory, not even slice by slice on the "
                                                "CPU; close other programs, or crop or resample it."),
    (RuntimeError("CUDA error: an illegal address.\nMore."), "'ct.nrrd' could not be segmented (CUDA error: an illegal "
                                                             "address); choose the CPU as the device."),
    (RuntimeError(), "'ct.nrrd' could not be segmented (an unknown error); choose the CPU as the device."),
    (ValueError("It is broken."), "It is broken."),
    (OSError("The disk is full."), "The disk is full."),
])
def test_why_a_volume_was_not_segmented_is_one_sentence(error: Exception, sentence: str) -> None:
    assert refusal(error, JOB, "cuda") == sentence
