"""Small good files of every format: what mutants are made from. None is written by ITK, whose threads a fork loses."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import yaml

from SAMoraLib.card import Card
from SAMoraLib.checkpoint import save_model
from SAMoraLib.request import Job, Options, Request
from SAMoraLib.variants import EncoderSize
from SAMoraLib.volume import Region
from SAMoraSlicer.cases import Case
from SAMoraSlicer.manifest import DONE, FAILED, Manifest
from Testing.folders import ROOT
from Testing.fuzz.mutate import Files
from Testing.library.volume.dicom_files import as_mr, frames_file, slice_file
from Testing.published_files import adapted_model, published_tensors, write_sam
from Testing.small import CT, IMAGE_SIZE, small_card, small_model, write_bare
from Training.engine.run import Run
from Training.reports.metrics import CONVENTIONS
from Training.settings.stages import Stage2

HU = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
SPACING = (0.8, 0.9, 2.5)
TINY = EncoderSize(16, 1, 2, (0,), window_size=2, patch_size=8, out_chans=16, mask_in_chans=4, decoder_heads=2,
                   decoder_mlp_dim=8, iou_hidden_dim=8, volume_width=8, depth_width=8)
RUN = {"model": "small", "organs": ["liver"], "format": ".seg.nrrd", "precision": "full", "skim": 1}
UID = "1.2.826.0.1.3680043.8.498.{}"
GRID = ROOT / "Training" / "configs" / "grids" / "demo_rows.yaml"
STAGE = ROOT / "Training" / "configs" / "demo" / "samora.yaml"


@cache
def nifti() -> list[Files]:
    voxels, affine = HU.transpose(2, 1, 0), np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    made = []
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        image = kind(voxels, affine)
        image.set_qform(affine, 1)
        made.append({"volume.nii": image.to_bytes()})
    scaled = nibabel.Nifti1Image(voxels.astype(np.uint8), affine)
    scaled.header.set_slope_inter(2.0, -1000.0)
    big = nibabel.Nifti1Image(voxels.astype(">f4"), affine, nibabel.Nifti1Header(endianness=">"))
    return [*made, {"volume.nii": scaled.to_bytes()}, {"volume.nii": big.to_bytes()}]


@cache
def nifti_gz() -> list[Files]:
    return [{"volume.nii.gz": gzip.compress(files["volume.nii"], mtime=0)} for files in nifti()]


def nrrd_header(encoding: str, *more: str) -> bytes:
    lines = ("NRRD0005", "# made for a test", "type: int16", "dimension: 3", "space: left-posterior-superior",
             "sizes: 6 5 4", "space directions: (0.8,0,0) (0,0.9,0) (0,0,2.5)", "kinds: domain domain domain",
             "endian: little", f"encoding: {encoding}", "space origin: (-10,20,30.5)", *more)
    return "\n".join(lines).encode() + b"\n"


@cache
def nrrd() -> list[Files]:
    texts = " ".join(map(str, HU.ravel())).encode()
    return [{"volume.nrrd": nrrd_header("raw") + b"\n" + HU.tobytes()},
            {"volume.nrrd": nrrd_header("gzip") + b"\n" + gzip.compress(HU.tobytes(), mtime=0)},
            {"volume.nrrd": nrrd_header("text") + b"\n" + texts}]


@cache
def nhdr() -> list[Files]:
    slices = {f"slice{number}.raw": plane.tobytes() for number, plane in enumerate(HU)}
    listed = "data file: LIST 2\n" + "\n".join(slices)
    packed = gzip.compress(HU.tobytes(), mtime=0)
    return [{"volume.nhdr": nrrd_header("raw", "data file: volume.raw"), "volume.raw": HU.tobytes()},
            {"volume.nhdr": nrrd_header("gzip", "data file: volume.raw.gz"), "volume.raw.gz": packed},
            {"volume.nhdr": nrrd_header("raw", "data file: slice%d.raw 0 3 1 2"), **slices},
            {"volume.nhdr": nrrd_header("raw", listed), **slices}]


def meta_header(*more: str) -> bytes:
    lines = ("ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False",
             "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = -10 20 30.5", "CenterOfRotation = 0 0 0",
             "AnatomicalOrientation = RAI", "ElementSpacing = 0.8 0.9 2.5", "DimSize = 6 5 4",
             "ElementType = MET_SHORT", *more)
    return "\n".join(lines).encode() + b"\n"


@cache
def mha() -> list[Files]:
    packed = zlib.compress(HU.tobytes())
    head = meta_header("CompressedData = True", f"CompressedDataSize = {len(packed)}", "ElementDataFile = LOCAL")
    return [{"volume.mha": meta_header("CompressedData = False", "ElementDataFile = LOCAL") + HU.tobytes()},
            {"volume.mha": head + packed}]


@cache
def mhd() -> list[Files]:
    slices = {f"slice{number}.raw": plane.tobytes() for number, plane in enumerate(HU)}
    listed = "ElementDataFile = LIST\n" + "\n".join(slices)
    return [{"volume.mhd": meta_header("ElementDataFile = volume.raw"), "volume.raw": HU.tobytes()},
            {"volume.mhd": meta_header("ElementDataFile = slice%d.raw 0 3 1"), **slices},
            {"volume.mhd": meta_header(listed), **slices}]


def dicom_bytes(data: Any, number: int) -> bytes:
    """A data set with a number of its own in place of what is drawn at random."""
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID.format(number + 1)
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()


@cache
def dicom_series() -> list[Files]:
    """CT and MR of three slices, and a CT of one."""
    made: list[Files] = []
    for is_mr, count in ((False, 3), (True, 3), (False, 1)):
        files = {}
        for number in range(count):
            data = slice_file(number)
            if is_mr:
                as_mr(number, data)
            files[f"series/IM{number:04}.dcm"] = dicom_bytes(data, number)
        made.append(files)
    return made


@cache
def dicom_frames() -> list[Files]:
    return [{"series/frames.dcm": dicom_bytes(frames_file(slopes=slopes), 0)} for slopes in (None, [1, 2, 1, 2, 3, 1])]


def _written(write: Any, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(path)
        return path.read_bytes()


@cache
def checkpoint() -> list[Files]:
    """One that holds all of itself, and one that lacks what its base has."""
    base, model = small_model("sam", num_classes=6, size=TINY), small_model("samed", size=TINY)
    card = small_card(model.variant)
    model.load_state_dict({key: value for key, value in base.state_dict().items()
                           if key in model.state_dict() and model.state_dict()[key].shape == value.shape}, strict=False)
    with tempfile.TemporaryDirectory() as folder:
        whole, part, below = (Path(folder, f"{name}.safetensors") for name in ("whole", "model", "base"))
        save_model(whole, model, card)
        save_model(below, base, Card("base", "small-base", base.variant, IMAGE_SIZE))
        save_model(part, model, card, below)
        return [{"model.safetensors": whole.read_bytes()},
                {"model.safetensors": part.read_bytes(), "base.safetensors": below.read_bytes()}]


@cache
def card() -> list[Files]:
    """Cards alone: of a model with every field, a base, and an expert of another row."""
    model = small_model("samora", size=TINY)
    full = Card("model", "small", model.variant, IMAGE_SIZE, small_card(model.variant).labels, CT,
                {"name": "base.safetensors", "sha256": "0" * 64}, ({"name": "a.pth", "sha256": "1" * 64},),
                {"seed": 1, "data": {"train": 3}}, {"dice": 0.5}, "CC BY 4.0", "A small one.")
    base = Card("base", "small-base", small_model("sam", size=TINY).variant, IMAGE_SIZE)
    texts = [json.dumps(one.to_json()) for one in (full, base, small_card(model.variant, "expert"))]
    return [{"model.safetensors": _written(lambda path, text=text: write_bare(path, text), "a.safetensors")}
            for text in texts]


@cache
def pth() -> list[Files]:
    state = small_model("sam", num_classes=6, size=TINY).state_dict()
    wrapped = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    made: list[Files] = []
    for content in (state, wrapped):
        written = io.BytesIO()
        torch.save(content, written)
        made.append({"weights.pth": written.getvalue()})
    return made


@cache
def published() -> list[Files]:
    """What other programs publish, each system's own."""
    made: list[Files] = []
    with tempfile.TemporaryDirectory() as folder:
        base = write_sam(Path(folder, "base.safetensors"), size=TINY)
        for system in ("samed", "ma_sam"):
            written = io.BytesIO()
            torch.save(published_tensors(system, adapted_model(system, base, TINY)), written)
            made.append({"weights.pth": written.getvalue()})
    return made


@cache
def pth_legacy() -> list[Files]:
    """In torch's old forms; without tensors, whose names in such a file are their places in memory."""
    written = io.BytesIO()
    torch.save({"epoch": 3, "names": ["a"] * 20}, written, _use_new_zipfile_serialization=False)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return [{"weights.pth": written.getvalue()}, {"weights.pth": packed.getvalue()}]


@cache
def request() -> list[Files]:
    region = Region.between((-10, -20, 0), (50, 60, 70))
    jobs = (Job(Path("in/a.nii.gz"), Path("out/a.seg.nrrd"), region, {"liver": region}),
            Job(Path("in/b"), Path("out/b.nii.gz")))
    some = Request(jobs, Path("m.safetensors"), Path("b.safetensors"), Options(("liver",), "cuda:0", 4, 2, 3.5, "half"))
    return [{"request.json": json.dumps(one.to_json()).encode()} for one in (some, Request(jobs[1:], Path("m.pth")))]


def cases(folder: Path) -> tuple[Case, ...]:
    """What a batch is asked for, of which its manifest tells."""
    return tuple(Case(name, folder / f"{name}.nii", folder / f"{name}.seg.nrrd", (1, 2, 3, "abcd"))
                 for name in ("a", "b/c", "d"))


def _batch() -> tuple[bytes, bytes]:
    """A manifest of a run that has ended, and the journal of one that has not."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest(Path(folder, "manifest.json"), RUN)
        manifest.begin(cases(Path("/data")))
        organ = {"name": "liver", "title": "Liver", "found": True, "voxels": 3, "volume_ml": 0.5,
                 "mean_intensity": 40.5, "confidence": 0.9}
        manifest.record(cases(Path("/data"))[0], DONE, organs=[organ], seconds=1.5)
        manifest.record(cases(Path("/data"))[1], FAILED, error="It is no volume.")
        journal = manifest.journal.read_bytes()
        manifest.write()
        return manifest.path.read_bytes(), journal


@cache
def batch_manifest() -> list[Files]:
    return [{"manifest.json": _batch()[0], "a.seg.nrrd": nrrd()[0]["volume.nrrd"]}]


@cache
def batch_journal() -> list[Files]:
    written, journal = _batch()
    result = nrrd()[0]["volume.nrrd"]
    return [{"manifest.jsonl": journal, "a.seg.nrrd": result}, {"manifest.jsonl": journal, "manifest.json": written}]


@cache
def training_manifest() -> list[Files]:
    """Volumes of every split, one with a list of its slices."""
    made = []
    for number, split in enumerate(("train", "validation", "test", "unlabelled")):
        made.append({"id": f"case{number}", "split": split, "image": f"{number}/image.nii.gz",
                     "label": None if split == "unlabelled" else f"{number}/label.nii.gz",
                     "image_sha256": f"{number}" * 64, "label_sha256": None if split == "unlabelled" else "a" * 64,
                     "voxels_sha256": f"{number + 4}" * 64, "shape": [4, 5, 6], "spacing": [0.8, 0.9, 2.5]}
                    | ({"slices": [0, 2]} if number == 0 else {}))
    content = {"format_version": 1, "modality": "CT", "labels": "chaos_mr", "label_map": {"1": 1, "6": 2},
               "cases": made}
    return [{"manifest.json": json.dumps(content).encode()}]


@cache
def catalogue() -> list[Files]:
    """A list of models with two of them, and a checkpoint beside it."""
    offered = {"id": "ct-small", "title": "Small CT", "description": "Of a test.", "modality": "CT",
               "organs": ["liver", "spleen"], "licence": "CC0", "size_bytes": 2000, "sha256": "0" * 64,
               "urls": ["https://example.org/a.safetensors"], "cpu_seconds": 3.5, "gpu_seconds": None,
               "measured_on": "a phantom"}
    packaged = {"id": "demo", "title": "Demo", "file": "demo/demo.safetensors"}
    text = json.dumps({"models": [offered, packaged]}).encode()
    return [{"Models.json": text, "own.safetensors": files["model.safetensors"]} for files in card()]


@cache
def results() -> list[Files]:
    scores = {"dice": 0.9, "hd95": 3.5, "nsd": 0.8}
    organ = {"reference_ml": 1.5, "prediction_ml": 1.25} | dict.fromkeys(CONVENTIONS, scores)
    made = [{"case": f"case{number}", "seconds": 1.5, "organs": {"liver": organ, "spleen": organ}} for number in (1, 2)]
    content = {"checkpoint": "model.safetensors", "split": "test", "summary": {}, "results": made}
    return [{"run/test/results.json": json.dumps(content).encode()}]


@cache
def grid() -> list[Files]:
    own = {"output": "runs/rank", "axes": {"rank": {"rank1": {"rank": 1}, "rank4": {"rank": 4}},
                                           "seed": {"seed1": {"seed": 1}}},
           "steps": {"image": {"script": "stage1_expert", "config": "e.yaml",
                               "set": {"level": "image", "rank": "{rank}"}},
                     "samed": {"script": "stage2_finetune", "config": "{image}.yaml",
                               "set": {"rank": "{rank}", "optimisation.seed": "{seed}", "trained": ["{image}"]}}},
           "rows": ["samed"], "baseline": "samed_rank1"}
    return [{"grid.yaml": GRID.read_bytes()}, {"grid.yaml": yaml.safe_dump(own, sort_keys=False).encode()}]


@cache
def stage_configuration() -> list[Files]:
    return [{"stage.yaml": STAGE.read_bytes()}]


STAGE_2 = Stage2(Path("runs/samed"), Path("runs/manifest.json"), Path("weights/base.pth"), "samed",
                 classes={"liver": "liver"}, class_weights={"liver": 2.0})


@cache
def run_configuration() -> list[Files]:
    return [{"run/config.yaml": _written(lambda path: Run(path.parent, STAGE_2), "config.yaml")}]
