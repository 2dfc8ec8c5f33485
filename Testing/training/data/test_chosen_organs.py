"""Slices on which some organs count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from SAMoraLib.labels import get_label_set
from Testing.refusals import refusal
from Testing.small import CT
from Testing.training.conftest import Cases
from Training.data.chosen_organs import ChosenOrgans
from Training.data.manifest import read_manifest
from Training.data.slices import IGNORED, SliceDataset, build_cache

LABELS = get_label_set("chaos_mr")


@pytest.fixture
def slices(cases: Cases, tmp_path: Path) -> SliceDataset:
    cases.add("a")
    cases.manifest(tmp_path, train="a")
    manifest = read_manifest(tmp_path / "manifest.json")
    return SliceDataset(build_cache(manifest, manifest.cases, CT, tmp_path / "cache"))


def test_chosen_organs_are_numbered_and_the_others_background(slices: SliceDataset) -> None:
    chosen = ChosenOrgans(slices, LABELS, [LABELS.names[3], LABELS.names[1]])
    assert len(chosen) == len(slices) == 6
    image, label = chosen[0, 2]
    plain_image, plain = slices[0, 2]
    assert torch.equal(image, plain_image) and label.dtype == torch.int64
    assert plain.unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(label, (plain == 4).long() + 2 * (plain == 2).long())


def test_what_is_ignored_stays_so(slices: SliceDataset) -> None:
    chosen = ChosenOrgans(slices, LABELS, [LABELS.names[0]])
    chosen.slices = {(0, 0): (torch.zeros(1), torch.tensor([IGNORED, 0, 1, 2]))}  # type: ignore[assignment]
    assert chosen[0, 0][1].tolist() == [IGNORED, 0, 1, 0]


def test_an_organ_that_is_not_labelled_is_refused(slices: SliceDataset) -> None:
    assert "heart" in refusal(lambda: ChosenOrgans(slices, LABELS, ["heart"]))
