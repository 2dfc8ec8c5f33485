"""The command that draws stage 1's slices: its manifest, what it says, and how it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.training.unlabelled_volumes import data_set, tissue
from Training import sample_unlabelled
from Training.data.augment import two_views
from Training.data.manifest import Manifest, read_manifest
from Training.data.slices import ViewDataset, build_cache
from Training.data.unlabelled import Sample
from Training.sample_unlabelled import main, parser


def test_stage_1_reads_the_drawn_slices_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_set(tmp_path / "lits", {"a": tissue(1), "b": tissue(2)})
    output = tmp_path / "unlabelled" / "manifest.json"
    main(["--manifest", str(tmp_path / "lits" / "manifest.json"), "--count", "5", "--output", str(output), "--cache",
          str(tmp_path / "cache")])
    assert "5 slices of 2 volumes" in capsys.readouterr().out
    manifest = read_manifest(output)
    assert manifest.cases[0].image == "../lits/a.nii.gz"
    cache = build_cache(manifest, manifest.of("unlabelled"), Preprocessing("CT", "hu_window", -200, 400, "none", 32),
                        tmp_path / "slices")
    views = ViewDataset(cache, two_views)
    assert len(views) == 5 and len(cache) == 16
    drawn = {(case.id, number) for case in manifest.cases for number in case.slices or ()}
    assert {(cache.refs[at].case, cache.refs[at].number) for at in cache.listed} == drawn
    assert all(view.shape == (1, 1, 32, 32) for view in views[0, 4])


def test_the_draw_of_the_paper_is_what_nobody_has_to_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        data_set(tmp_path / name, {"x": tissue(ord(name))})
    asked: list[Any] = []

    def sample(manifests: list[Manifest], *how: Any) -> Sample:
        asked.append((len(manifests), *how))
        return Sample(manifests[0], copies=3, without_body=5, near_duplicates=7)

    monkeypatch.setattr(sample_unlabelled, "sample_slices", sample)
    paths = [str(tmp_path / name / "manifest.json") for name in "ab"]
    output = tmp_path / "out" / "drawn.json"
    command = ["--manifest", paths[0], "--manifest", paths[1], "--output", str(output)]
    main(command)
    main([*command, "--count", "9", "--seed", "4", "--cache", "kept"])
    assert asked == [(2, 100_000, 0, tmp_path / "out", Path("runs/cache/fingerprints")),
                     (2, 9, 4, tmp_path / "out", Path("kept"))]
    said = capsys.readouterr().out.splitlines()
    assert said[1] == (f"{output}: 9 slices of 1 volumes; passed over: 3 volumes that are copies, 5 slices without a "
                       "body, 7 that show almost the same as another")


@pytest.mark.parametrize(("count", "said"), [("8", "Cannot draw 8 of 7 different slices"), ("3", "no manifest")])
def test_what_cannot_be_drawn_is_one_sentence_and_no_file(tmp_path: Path, count: str, said: str) -> None:
    data_set(tmp_path / "a", {"x": tissue(1)})
    if count == "3":
        (tmp_path / "a" / "manifest.json").unlink()
    with pytest.raises(SystemExit, match=said):
        main(["--manifest", str(tmp_path / "a" / "manifest.json"), "--count", count, "--output",
              str(tmp_path / "out.json"), "--cache", str(tmp_path / "cache")])
    assert not (tmp_path / "out.json").exists()


def test_help_begins_with_what_the_command_does() -> None:
    assert parser().description == "Draw the unlabelled slices of stage 1 from several data sets."
