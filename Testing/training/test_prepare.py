"""The command: its splits, few-shot choices and refusals, over one's own folder and over a published data set."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.volume import Volume
from Testing.folders import SHARED
from Testing.training.conftest import Cases
from Training import prepare as prepare_module
from Training.data.manifest import Manifest, read_manifest
from Training.datasets.folder import find_sources
from Training.datasets.protocol import Download, Protocol, Source, collect, mr_percentiles
from Training.datasets.table import DATA_SETS
from Training.prepare import FRACTIONS, choose_part, few_training_cases, main, parser

CHAOS = SHARED / "data" / "chaos_mr_t2"


def _command(tmp_path, *more):
    return ["--input", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--labels", "chaos_mr",
            "--modality", "MR", *more]


def test_from_folders_to_manifest(cases, tmp_path, capsys):
    for seed, case in enumerate("abcd"):
        cases.add(case, seed)
    main(_command(tmp_path, "--split", "train=a,b", "validation=c"))
    manifest = read_manifest(tmp_path / "out" / "manifest.json")
    assert [(case.id, case.split) for case in manifest.cases] == [("a", "train"), ("b", "train"), ("c", "validation")]
    case = manifest.cases[0]
    assert case.shape == (6, 40, 48)
    assert case.spacing == pytest.approx((1.5, 1.5, 5.0))
    assert manifest.label_map == {1: 1, 2: 2, 3: 3, 4: 4}
    assert "2 train, 1 validation, 1 left out" in capsys.readouterr().out


def test_numbers_of_other_data_sets(cases, tmp_path):
    cases.add("a", numbers=(5, 3, 2, 52))
    with pytest.raises(SystemExit, match=r"hold \[2, 3, 5, 52\] but the label set knows \[1, 2, 3, 4\]"):
        main(_command(tmp_path, "--split", "train=a"))
    main(_command(tmp_path, "--split", "train=a", "--label-map", "5=liver,2=right_kidney,3=left_kidney"))
    assert read_manifest(tmp_path / "out" / "manifest.json").label_map == {5: 1, 2: 2, 3: 3}
    with pytest.raises(SystemExit, match=r"names \[7\] but"):
        main(_command(tmp_path, "--split", "train=a", "--label-map", "7=liver"))


def test_unlabelled_cases_need_no_label(cases, tmp_path):
    image, _ = cases.add("a")
    cases.write("b", image.with_array(image.array + 1), None)
    manifest = cases.manifest(tmp_path / "out", train="a", unlabelled="b")
    assert manifest.of("unlabelled")[0].label is None
    with pytest.raises(ValueError, match="'b' of the split test has no label"):
        cases.manifest(tmp_path / "out", train="a", test="b")


def test_finds_a_reoriented_copy_in_another_split(cases, tmp_path):
    image, label = cases.add("a")
    flipped = Volume(image.array[:, ::-1, ::-1].copy(), image.spacing, (80.5, 38.5, 30.0),
                     (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    cases.write("b", flipped, Volume(label.array[:, ::-1, ::-1].copy(), flipped.spacing, flipped.origin,
                                     flipped.direction))
    with pytest.raises(ValueError, match="same image is in several splits"):
        cases.manifest(tmp_path / "out", train="a", test="b")


def test_says_which_cases_and_folders_are_missing(cases, tmp_path):
    cases.add("a")
    with pytest.raises(SystemExit, match="name z but the folder holds a"):
        main(_command(tmp_path, "--split", "train=a,z"))
    with pytest.raises(SystemExit, match=r"neither sub-folders with 'ct\.nii\.gz'"):
        main(_command(tmp_path, "--image", "ct.nii.gz"))
    with pytest.raises(SystemExit, match="no folder"):
        main([*_command(tmp_path), "--input", str(tmp_path / "none")])


def found_in(folder: Path, split: str | None = None) -> Download:
    """A folder per case, whose label may be missing."""
    sources = find_sources(folder, "image.nii.gz", "label.nii.gz")
    return collect(folder, [(replace(source, split=split), [folder / source.id / "image.nii.gz"])
                            for source in sources])


Published = Callable[..., Manifest]


@pytest.fixture
def published(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The command over a small data set of the cases a to f, f without a label; fields of its row may be given."""
    for seed, case in enumerate("abcde"):
        cases.add(case, seed)
    image, _ = cases.add("g", 9)
    cases.write("f", image.with_array(image.array + 1), None)
    (tmp_path / "data" / "g" / "image.nii.gz").unlink()
    row = Protocol("Small", "CASE/image.nii.gz", found_in, {1: "liver", 2: "right_kidney", 3: "left_kidney",
                                                          4: "spleen"}, "chaos_mr", mr_percentiles(1, 99, 64))

    def command(*more: str, **fields: Any) -> Manifest:
        monkeypatch.setitem(DATA_SETS, "small", {"one": replace(row, **fields)})
        main(["small", "--input", str(tmp_path / "data"), "--output", str(tmp_path / "out"), *more])
        return read_manifest(tmp_path / "out" / "manifest.json")

    published_split = {"a": "train", "b": "train", "d": "train", "e": "test", "z": "test"}
    monkeypatch.setattr(prepare_module, "published_split", {"listed": published_split}.__getitem__)
    monkeypatch.setattr(prepare_module, "few_shot_cases", {"listed": ("b",)}.__getitem__)
    return command


def split_of(manifest: Manifest) -> dict[str, str]:
    return {case.id: case.split for case in manifest.cases}


def test_the_papers_split_of_the_cases_that_are_there(published: Published, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = published(split="listed")
    assert split_of(manifest) == {"a": "train", "b": "train", "d": "train", "e": "test"}
    assert (manifest.modality, manifest.labels.name) == ("MR", "chaos_mr")
    assert {case.slices for case in manifest.cases} == {None}
    said = capsys.readouterr().out
    assert "Small; preprocessing of the papers: " in said and said.endswith("3 train, 1 test, 2 left out\n")


def test_ones_own_split_and_shares_come_before_the_papers(published: Published) -> None:
    assert split_of(published("--split", "test=a", "unlabelled=f,b", split="listed")) == {
        "a": "test", "b": "unlabelled", "f": "unlabelled"}
    assert Counter(split_of(published("--fractions", "1", "0", "0", split="listed")).values()) == {
        "train": 5, "unlabelled": 1}


def test_a_downloads_own_split_comes_before_chance(published: Published) -> None:
    taken = published(find=lambda folder: found_in(folder, "unlabelled"))
    assert set(split_of(taken).values()) == {"unlabelled"} and len(taken.cases) == 6

    def partly(folder: Path) -> Download:
        whole = found_in(folder, "unlabelled")
        return replace(whole, cases=(replace(whole.cases[0], split=None), *whole.cases[1:]))

    by_chance = split_of(published("--seed", "1", find=partly))
    assert Counter(by_chance.values()) == {"train": 3, "validation": 1, "test": 1, "unlabelled": 1}
    assert by_chance == split_of(published("--seed", "1")) != split_of(published("--seed", "2"))


def test_the_papers_few_cases_with_the_slices_that_show_an_organ(published: Published) -> None:
    manifest = published("--few-shot", split="listed")
    assert split_of(manifest) == {"a": "unlabelled", "b": "train", "d": "unlabelled", "e": "test"}
    assert [(case.id, case.slices, case.label is None) for case in manifest.cases] == [
        ("a", None, True), ("b", (1, 2, 3, 4), False), ("d", None, True), ("e", None, False)]


def test_listed_slices_and_one_that_is_not_there(published: Published, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("d_slice005\nd_slice000\n", encoding="utf-8")
    manifest = published("--few-shot-list", str(names), split="listed")
    assert {case.id: case.slices for case in manifest.of("train")} == {"d": (0, 5)}
    names.write_text("d_slice006\nd_slice000\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="names slice 6 of case 'd', which has 6 axial slices"):
        published("--few-shot-list", str(names), split="listed")


def test_cases_of_the_whole_body_may_show_no_organ(published: Published, capsys: pytest.CaptureFixture[str]) -> None:
    """Those without any are left out, those without a label stay."""
    fields = {"numbers": {1: "", 2: "", 3: "", 4: "", 9: "spleen"}, "labels": "spleen"}
    with pytest.raises(SystemExit, match=r"Case 'a': the label '.*' shows no organ of the label set"):
        published("--split", "train=a", "unlabelled=f", **fields)
    manifest = published("--split", "train=a", "unlabelled=f", **fields, whole_body=True)
    assert split_of(manifest) == {"f": "unlabelled"} and "5 left out" in capsys.readouterr().out
    fields["numbers"] = {1: "spleen", 2: "", 3: "", 4: ""}
    assert split_of(published("--split", "train=a", **fields, whole_body=True)) == {"a": "train"}


def test_numbers_that_a_published_set_does_not_have(published: Published) -> None:
    with pytest.raises(SystemExit, match=r"Case 'a': the label 'label.nii.gz' holds the numbers \[4\]"):
        published("--split", "train=a", numbers={1: "liver", 2: "", 3: ""}, labels="liver")


def test_few_training_cases() -> None:
    splits = {"a": "train", "b": "train", "c": "test", "d": "unlabelled", "e": "validation"}
    assert few_training_cases(splits, None) == splits
    assert few_training_cases(splits, ["b"]) == splits | {"a": "unlabelled"}
    with pytest.raises(ValueError, match="names c, d, e, which are no training cases here;"):
        few_training_cases(splits, ["z", "e", "d", "c", "a"])


def test_a_part_is_named_or_the_first_that_the_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "case").mkdir()

    def part(title: str, holds: bool) -> Protocol:
        source = find_sources_of(tmp_path)[:holds]
        return Protocol(title, "", lambda folder: Download(folder, source, (), 1), {}, "liver", mr_percentiles(1, 2, 3))

    parts = {"x": part("x", False), "y": part("y", True), "z": part("z", True)}
    monkeypatch.setitem(DATA_SETS, "small", parts)
    assert choose_part("small", "z", tmp_path).title == "z"
    assert choose_part("small", None, tmp_path).title == "y"
    assert choose_part("small", None, tmp_path / "none").title == "x"
    with pytest.raises(ValueError, match=r"small has no part 'w'; choose from x, y, z\."):
        choose_part("small", "w", tmp_path)
    for some, expected in (("x", "x"), ("xy", "y")):
        monkeypatch.setitem(DATA_SETS, "small", {name: parts[name] for name in some})
        assert choose_part("small", None, tmp_path).title == expected


def find_sources_of(folder: Path) -> tuple[Source, ...]:
    return (Source("case", folder / "case", None),)


@pytest.mark.parametrize("given", [[], ["--labels", "liver"], ["--modality", "CT"]])
def test_ones_own_folder_needs_labels_and_modality(tmp_path: Path, given: list[str],
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--input", str(tmp_path), "--output", str(tmp_path / "out"), *given])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("one's own folder needs --labels and --modality\n")


def test_what_nobody_has_to_say() -> None:
    args: argparse.Namespace = parser().parse_args(["--input", "a", "--output", "b"])
    assert (args.data_set, args.fractions, args.seed, args.split, args.partial) == ("folder", None, 0, [], False)
    assert FRACTIONS == (0.7, 0.15, 0.15)
    assert (parser().description or "").startswith("A data set -> manifest.json. Volumes are read and checked;")
    said = " ".join(parser().format_help().split())
    assert "la: nrrd, h5; chaos: t2, t1_in, t1_out, ct " in said and "lits:" not in said


@pytest.mark.skipif(not CHAOS.is_dir(), reason="needs ../shared/data/chaos_mr_t2, which is not part of the repository")
def test_real_cases(tmp_path):
    main(["--input", str(CHAOS), "--output", str(tmp_path), "--labels", "chaos_mr", "--modality", "MR",
          "--image", "mr.nii.gz", "--split", "train=01,02", "test=31"])
    manifest = read_manifest(tmp_path / "manifest.json")
    assert [case.id for case in manifest.cases] == ["01", "02", "31"]
    assert all(case.spacing[2] > 5 for case in manifest.cases)
