"""Changes of binary headers hit the fields that they mean, and what is checked by its writer fits again."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
import torch
from pydicom import dcmread

from SAMoraLib.card import METADATA_KEY
from Testing.fuzz import binary_headers, seeds

Change = Callable[[Random, bytes], bytes]
GOOD_SLICE = seeds.dicom_series()[0]["series/IM0000.dcm"]


def many(change: Change, data: bytes, count: int = 200) -> list[bytes]:
    random = Random(0)
    return [change(random, data) for _ in range(count)]


@pytest.mark.parametrize("number", range(4))
def test_fields_of_nifti_change_in_place(number: int) -> None:
    good = seeds.nifti()[number]["volume.nii"]
    made = many(binary_headers.change_nifti, good)
    length = 540 if number == 1 else 348
    assert all(len(one) == len(good) and one[length:] == good[length:] for one in made)
    assert sum(one != good for one in made) > 150
    if number == 0:
        made = many(binary_headers.change_nifti, good, 2000)
        slopes = [struct.unpack_from("<f", one, 112)[0] for one in made]
        assert not np.isfinite(slopes).all() and any(struct.unpack_from("<h", one, 42)[0] < 0 for one in made)


def test_elements_of_dicom_are_found_and_written_as_they_were() -> None:
    for data in (GOOD_SLICE, seeds.dicom_frames()[0]["series/frames.dcm"]):
        elements = binary_headers.dicom_elements(data)
        assert data[:132] + b"".join(map(binary_headers.dicom_bytes, elements)) == data
        assert (0x7FE0, 0x10) in [tag for tag, _, _ in elements]


def test_dicom_is_nested_packed_and_of_other_syntaxes() -> None:
    made = many(binary_headers.change_dicom, GOOD_SLICE, 400)
    assert any(one.count(b"\xfe\xff\x00\xe0") >= 900 for one in made)
    assert any(b"1.2.840.10008.1.2.4.90" in one for one in made)
    packed = binary_headers.deflated(binary_headers.dicom_elements(GOOD_SLICE))
    assert len(packed) < 200_000 and dcmread(io.BytesIO(GOOD_SLICE[:132] + packed)).Rows == 8


def test_safetensors_keep_their_tensors_and_change_their_card() -> None:
    good = seeds.card()[0]["model.safetensors"]
    (length,) = struct.unpack_from("<Q", good)
    card = json.loads(json.loads(good[8:8 + length])["__metadata__"][METADATA_KEY])
    changed = 0
    for one in many(binary_headers.change_safetensors, good):
        (stated,) = struct.unpack_from("<Q", one)
        if stated == len(one) - 8:
            try:
                changed += json.loads(json.loads(one[8:])["__metadata__"][METADATA_KEY]) != card
            except (ValueError, KeyError, TypeError, RecursionError):
                changed += 1
    assert changed > 120


def test_records_of_an_archive_change_and_their_checksums_fit() -> None:
    good = seeds.pth()[0]["weights.pth"]
    codes = 0
    for one in many(binary_headers.change_archive, good, 150):
        with zipfile.ZipFile(io.BytesIO(one)) as archive:
            assert archive.testzip() is None
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        codes += any(b"mkdir" in code for code in pickles)
    assert codes


def test_an_archive_that_is_written_again_is_torchs() -> None:
    with zipfile.ZipFile(io.BytesIO(seeds.pth()[0]["weights.pth"])) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    assert torch.load(io.BytesIO(binary_headers.zipped(records)), weights_only=True).keys()
