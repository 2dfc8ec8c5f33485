"""What a folder holds of a data set, what is missing, and which organ counts as which."""

from __future__ import annotations

from pathlib import Path

import pytest

from SAMoraLib.labels import get_label_set
from Testing.refusals import refusal
from Training.datasets.protocol import (
    BACKGROUND,
    Download,
    Protocol,
    Source,
    collect,
    complete,
    ct_window,
    inner,
    label_map_of,
    mr_percentiles,
)


def protocol(numbers: dict[int, str]) -> Protocol:
    return Protocol("Data", "a/image.nii", lambda folder: Download(folder, (), (), 0), numbers, "liver",
                    ct_window(-1, 2, 3))


def test_preprocessing_of_both_modalities() -> None:
    ct, mr = ct_window(-125, 275, 224), mr_percentiles(1, 99, 512)
    assert (ct.modality, ct.intensity, ct.low, ct.high, ct.crop, ct.image_size) == (
        "CT", "hu_window", -125, 275, "none", 224)
    assert (mr.modality, mr.intensity, mr.low, mr.high, mr.crop, mr.image_size) == (
        "MR", "percentile", 1, 99, "none", 512)


def test_a_download_may_be_given_from_further_up(tmp_path: Path) -> None:
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a").touch()  # no folder
    assert inner(tmp_path, "a", "b", "c") == tmp_path / "b"
    assert inner(tmp_path, "none") == inner(tmp_path) == tmp_path
    with pytest.raises(FileNotFoundError, match=r"^There is no folder '.*none'; give the folder of the download\.$"):
        inner(tmp_path / "none", "a")


def test_cases_that_are_whole_and_files_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").touch()
    (tmp_path / "b").touch()
    cases = [Source(name, tmp_path / name, None) for name in "ab"]
    found = collect(tmp_path, [(cases[0], [tmp_path / "sub" / "a", tmp_path / "sub" / "none"]),
                               (cases[1], [tmp_path / "b"]), (cases[0], [tmp_path / "neither"])])
    assert found == Download(tmp_path, (cases[1],), ("sub/none", "neither"), 4)


CASES = tuple(Source(name, Path(name), None) for name in "abc")


def test_a_whole_download_and_a_partial_one_that_will_do() -> None:
    whole = Download(Path("data"), CASES, (), 6)
    some = Download(Path("data"), CASES, ("x",), 7)
    for partial in (False, True):
        assert complete(whole, protocol({}), partial) == CASES
    assert complete(some, protocol({}), True) == CASES


@pytest.mark.parametrize(("missing", "examples"), [
    (("x",), "(not there: x)"), (("x", "y", "z"), "(not there: x, y, z)"),
    (("x", "y", "z", "w"), "(not there: x, y, z, ...)"),
])
def test_a_partial_download_is_refused_with_what_is_missing(missing: tuple[str, ...], examples: str) -> None:
    said = refusal(lambda: complete(Download(Path("data"), CASES, missing, 9), protocol({}), False))
    assert said.startswith(f"'data' lacks {len(missing)} of the 9 files and folders of Data {examples}; complete")
    assert "take the 3 complete cases with --partial" in said


@pytest.mark.parametrize("partial", [True, False])
def test_a_folder_of_something_else(partial: bool) -> None:
    for missing, examples in (((), ""), (("x",), " (not there: x)")):
        download = Download(Path("data"), (), missing, 1)
        said = refusal(lambda download=download: complete(download, protocol({}), partial))
        assert said.startswith(f"'data' holds no case of Data, whose layout is a/image.nii{examples}; give the folder")


def test_a_part_counts_as_the_organ_that_a_label_set_knows() -> None:
    numbers = {1: "left_kidney", 2: "kidney_tumour", 3: "right_kidney", 4: "liver", 5: BACKGROUND}
    assert label_map_of(protocol(numbers), get_label_set("kidney_tumour")) == {1: 1, 2: 2, 3: 1}
    assert label_map_of(protocol(numbers | {6: "liver_tumour"}), get_label_set("liver")) == {4: 1, 6: 1}


def test_an_organ_that_nobody_has_drawn_is_refused() -> None:
    said = refusal(lambda: label_map_of(protocol({1: "liver"}), get_label_set("chaos_mr")))
    assert said == ("Data has no label for left_kidney, right_kidney, spleen of the label set 'chaos_mr'; its own is "
                    "'liver', choose a set of what it labels with --labels.")
