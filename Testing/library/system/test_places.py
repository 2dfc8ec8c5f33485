"""Paths that lead to one place, and names that do not fit there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from SAMoraLib.system.places import (
    first_shared,
    identity,
    ignores_capitals,
    paths_to_one_place,
    require_room_for_name,
)
from Testing.refusals import refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/ct.nrrd").write_bytes(b"voxels")
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    (tmp_path / "ct_link.nrrd").symlink_to("real/ct.nrrd")
    (tmp_path / "hard.nrrd").hardlink_to(tmp_path / "real/ct.nrrd")
    (tmp_path / "circle").symlink_to("circle")
    return tmp_path


@pytest.fixture
def without_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which every name is found by small letters too; the paths of tests have them alone."""
    found = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: found(Path(str(path).lower()), **how))


@pytest.mark.parametrize("path", ["link/ct.nrrd", "ct_link.nrrd", "hard.nrrd", "real/../link/ct.nrrd"])
def test_a_file_is_the_same_by_every_path(folder: Path, path: str) -> None:
    assert identity(folder / path) == identity(folder / "real/ct.nrrd") is not None
    assert first_shared(folder / path, [folder, folder / "real/ct.nrrd"]) == folder / "real/ct.nrrd"


@pytest.mark.parametrize("path", ["none", "circle", "real/ct.nrrd/x", "x" * 300, "\0"])
def test_what_is_not_there_is_nothing(folder: Path, path: str) -> None:
    assert identity(folder / path) is None
    assert first_shared(folder / path, [folder / path]) is None


@pytest.mark.parametrize(("one", "other"), [
    ("real/new.nrrd", "link/new.nrrd"), ("real/ct.nrrd", "link/ct.nrrd"), ("new/a.nrrd", "real/../new/a.nrrd"),
    ("new/a.nrrd", "new/b/../a.nrrd"), ("a.nrrd", "a.nrrd"), ("real/a/b.nrrd", "link/a/b.nrrd")])
def test_one_place_is_found_by_two_paths(folder: Path, one: str, other: str) -> None:
    paths = [folder / one, folder / "between.nrrd", folder / other]
    assert paths_to_one_place(paths) == (folder / one, folder / other)


def test_a_relative_path_leads_to_the_same_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "link")
    assert paths_to_one_place([Path("a.nrrd"), folder / "real/a.nrrd"])


@pytest.mark.parametrize(("one", "other"), [
    ("real/a.nrrd", "a.nrrd"), ("new/a.nrrd", "real/a.nrrd"), ("hard.nrrd", "real/ct.nrrd"), ("a", "a/a"),
    ("ct_link.nrrd", "real/ct.nrrd")])  # a link is replaced, not what it leads to
def test_other_places_are_others(folder: Path, one: str, other: str) -> None:
    assert paths_to_one_place([folder / one, folder / other]) is None


def test_capitals_count_where_the_disk_tells_them_apart(folder: Path) -> None:
    if ignores_capitals(folder):
        pytest.skip("this disk does not tell capitals apart")
    assert paths_to_one_place([folder / "CT.nrrd", folder / "ct.nrrd"]) is None


def test_and_do_not_where_it_does_not(folder: Path, without_capitals: None) -> None:
    paths = [folder / "new/CT.nrrd", folder / "b.nrrd", folder / "NEW/ct.nrrd"]
    assert ignores_capitals(folder) and paths_to_one_place(paths) == (paths[0], paths[2])


def test_a_folder_without_letters_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    assert not ignores_capitals(tmp_path / "1") and not ignores_capitals(tmp_path / "none")


@pytest.mark.parametrize("name", ["a" * 251 + ".mha", "é" * 125 + ".mha", f"{'a' * 255}/b.mha", "real/ct.nrrd", "",
                                  "/"])
def test_what_fits_is_left_alone(folder: Path, name: str) -> None:
    require_room_for_name(folder / name)
    assert not (folder / ("a" * 255)).exists()


@pytest.mark.parametrize(("name", "length"), [("a" * 252 + ".mha", 256), ("é" * 126 + ".mha", 256),
                                              (f"{'a' * 256}/b.mha", 256), (f"new/{'a' * 300}.mha", 304)])
def test_a_name_that_is_too_long_is_refused_by_its_bytes(folder: Path, name: str, length: int) -> None:
    message = refusal(lambda: require_room_for_name(folder / name))
    assert f"takes {length} bytes, and the file system allows 255" in message and len(message) < 300
    assert not (folder / "new").exists()


def test_a_file_systems_own_limit_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pathconf", lambda path, name: {"PC_NAME_MAX": 143, "PC_PATH_MAX": 4096}[name])
    require_room_for_name(folder / ("a" * 139 + ".mha"))
    assert "allows 143" in refusal(lambda: require_room_for_name(folder / ("a" * 140 + ".mha")))


@pytest.mark.parametrize("said", [-1, 0])
def test_where_a_file_system_says_no_limit_the_usual_one_holds(folder: Path, monkeypatch: pytest.MonkeyPatch, said: int
                                                               ) -> None:
    monkeypatch.setattr(os, "pathconf", lambda path, name: said)
    require_room_for_name(folder / ("a" * 251 + ".mha"))
    assert "allows 255" in refusal(lambda: require_room_for_name(folder / ("a" * 252 + ".mha")))


@pytest.mark.parametrize(("name", "counted"), [("ct.mha", 60), ("c" * 56 + ".mha", 60), ("c" * 71 + ".mha", 75)])
def test_a_path_has_room_for_the_unfinished_file_too(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                                     counted: int) -> None:
    longest = len(os.fsencode(folder)) + counted
    limits = {"PC_NAME_MAX": 255, "PC_PATH_MAX": longest + 1}
    monkeypatch.setattr(os, "pathconf", lambda path, name: limits[name])
    require_room_for_name(folder / name)
    limits["PC_PATH_MAX"] = longest
    said = refusal(lambda: require_room_for_name(folder / name))
    assert f"takes {longest} bytes, and the system allows {longest};" in said


@pytest.mark.parametrize(("length", "shown"), [(60, "a" * 60), (61, f"{'a' * 30}...{'a' * 30}")])
def test_a_long_name_is_told_by_its_ends(folder: Path, monkeypatch: pytest.MonkeyPatch, length: int, shown: str
                                         ) -> None:
    monkeypatch.setattr(os, "pathconf", lambda path, name: {"PC_NAME_MAX": 50, "PC_PATH_MAX": 4096}[name])
    message = refusal(lambda: require_room_for_name(folder / ("a" * length)))
    assert message.startswith(f"The name '{shown}' takes {length} bytes")


def test_a_path_that_is_too_long_is_refused(folder: Path) -> None:
    deep = folder.joinpath(*["d" * 200] * 20, "ct.mha")
    message = refusal(lambda: require_room_for_name(deep))
    assert "and the system allows 4096" in message and len(message) < 300


@pytest.mark.parametrize("path", ["real/ct.nrrd/out.mha", "real/ct.nrrd/new/out.mha"])
def test_a_file_is_no_folder(folder: Path, path: str) -> None:
    assert refusal(lambda: require_room_for_name(folder / path)).endswith("is not a folder; choose another output.")
