"""The list of models: what is offered, found, installed and deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from SAMoraLib.card import read_card
from SAMoraLib.system.files import file_sha256
from SAMoraSlicer import models
from SAMoraSlicer.model_files import delete
from SAMoraSlicer.models import catalogue, find, models_folder, titles
from Testing.slicer.bare_checkpoint import write_catalogue, write_checkpoint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's models folder, not made yet."""
    place = tmp_path / "modèles 模型"
    monkeypatch.setenv("SAMORA_WEIGHTS", str(place))
    return place


def ids() -> list[str]:
    return [model.id for model in catalogue()]


def test_the_demonstration_is_always_there_with_what_its_card_says(folder: Path) -> None:
    model = find("demonstration")
    card = read_card(model.path)
    assert ids() == ["ct-abdomen", "demonstration"] and model.usable
    assert (model.organs, model.modality, model.licence) == (card.labels.names, "CT", "Apache-2.0")
    assert model.size_bytes == model.path.stat().st_size
    assert titles(model)["right_kidney"] == "Right kidney"


def test_our_own_catalogue_is_whole() -> None:
    for entry in json.loads(models.CATALOGUE.read_text(encoding="utf-8"))["models"]:
        model = models._from_entry(entry)
        assert model.title and model.description and not model.problem
        assert (model.cpu_seconds is None and model.gpu_seconds is None) or model.measured_on


def test_a_checkpoint_in_the_folder_is_a_model(folder: Path) -> None:
    write_checkpoint(folder / "leber 1.safetensors", description="Ours.")
    model = find("leber 1")
    assert (model.title, model.description, model.modality, model.licence) == ("leber 1", "Ours.", "CT", "CC-BY-4.0")
    assert model.usable and find(model.path).usable


def test_a_model_of_the_catalogue_is_offered_before_it_is_here(folder: Path) -> None:
    write_catalogue(folder)
    model = next(model for model in catalogue() if model.id == "abdomen-ct")
    assert model.path is None and not model.usable and titles(model) == {"liver": "Liver", "spleen": "Spleen"}
    with pytest.raises(FileNotFoundError, match="'abdomen-ct' is not on this computer; download it"):
        find("abdomen-ct")
    path = write_checkpoint(folder / "abdomen-ct.safetensors")
    write_catalogue(folder, size_bytes=path.stat().st_size)
    model = find("Abdomen CT")
    assert model.path == path and model.organs == read_card(path).labels.names


def test_a_file_of_another_size_is_not_the_catalogues(folder: Path) -> None:
    write_catalogue(folder)
    write_checkpoint(folder / "abdomen-ct.safetensors")
    assert find("abdomen-ct").title == "abdomen-ct"


@pytest.mark.parametrize("changes", [{"id": "../evil"}, {"id": ""}, {"sha256": "abc"}, {"urls": []}, {"size_bytes": 0},
                                     {"surprise": 1}])
def test_a_wrong_entry_is_a_sentence_and_the_others_stay(folder: Path, changes: dict[str, Any]) -> None:
    write_catalogue(folder, **changes)
    assert ids() == ["ct-abdomen", "demonstration", "Models.json"]
    assert "cannot be read" in catalogue()[2].problem


def test_a_broken_list_is_a_sentence(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "Models.json").write_text("{", encoding="utf-8")
    assert catalogue()[2].problem.endswith("correct or delete it.")


def test_a_list_that_is_nested_without_end_is_a_sentence(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "Models.json").write_text('{"models": ' + "[" * 200_000, encoding="utf-8")
    assert "cannot be read" in catalogue()[2].problem


def test_a_corrupt_checkpoint_is_listed_with_its_problem(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "broken.safetensors").write_bytes(b"\xff" * 100)
    model = catalogue()[2]
    assert model.id == "broken" and "is not a safetensors file" in model.problem and not model.usable
    with pytest.raises(ValueError, match="is not a safetensors file"):
        find("broken")
    delete(model)
    assert ids() == ["ct-abdomen", "demonstration"]


def test_parts_of_models_are_not_offered(folder: Path) -> None:
    write_checkpoint(folder / "expert.safetensors", kind="expert", labels=None, preprocessing=None)
    base = write_checkpoint(folder / "base.safetensors", kind="base", labels=None, preprocessing=None)
    reference = {"name": base.name, "sha256": file_sha256(base)}
    write_checkpoint(folder / "needs-base.safetensors", base=reference)
    assert ids() == ["ct-abdomen", "demonstration", "needs-base"] and find("needs-base").usable
    base.unlink()
    with pytest.raises(ValueError, match=r"needs its base weights 'base\.safetensors', which are not beside it"):
        find("needs-base")


def test_an_unknown_name_lists_the_choices(folder: Path) -> None:
    with pytest.raises(ValueError, match="no model 'abdomin'; choose from ct-abdomen, demonstration, or give the path"):
        find("abdomin")
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        find("nowhere.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="XDG folders")
def test_without_a_choice_models_lie_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SAMORA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(models, "_setting", lambda name: "")
    assert models.models_folder() == tmp_path / "SAMora" / "models"


@pytest.mark.parametrize("content", ['{"models": ["a"]}', '{"models": {"a": 1}}', '[]',
                                     '{"models": [{"id": "a", "title": "A", "cpu_seconds": "12"}]}',
                                     '{"models": [{"id": "a", "title": "A", "path": "/etc/passwd"}]}',
                                     '{"models": [{"id": "a", "title": "A", "problem": "none"}]}'])
def test_a_list_of_anything_is_a_sentence(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    (folder / "Models.json").write_text(content, encoding="utf-8")
    assert ids() == ["ct-abdomen", "demonstration", "Models.json"]
    assert "cannot be read" in catalogue()[2].problem


def test_a_link_to_nothing_is_a_sentence(folder: Path) -> None:
    write_catalogue(folder)
    (folder / "abdomen-ct.safetensors").symlink_to(folder / "gone")
    assert "cannot be read" in catalogue()[2].problem


def test_a_relative_folder_is_one_place_for_all_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMORA_WEIGHTS", "weights")
    assert models_folder() == Path("weights").absolute()


@pytest.mark.parametrize(("system", "variables", "place"), [
    ("win32", {"LOCALAPPDATA": "{home}/Local"}, "Local"), ("win32", {}, "AppData/Local"),
    ("darwin", {"XDG_DATA_HOME": "{home}/xdg"}, "Library/Application Support"),
    ("linux", {"XDG_DATA_HOME": "{home}/xdg"}, "xdg"), ("linux", {"LOCALAPPDATA": "{home}/Local"}, ".local/share")])
def test_every_system_has_its_own_place_for_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str,
                                                 variables: dict[str, str], place: str) -> None:
    for name in ("SAMORA_WEIGHTS", "LOCALAPPDATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(models, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(models, "_setting", lambda name: "")
    assert models_folder() == tmp_path / place / "SAMora" / "models"


def test_the_variable_goes_before_the_setting_and_that_before_the_systems_place(monkeypatch: pytest.MonkeyPatch,
                                                                                tmp_path: Path) -> None:
    monkeypatch.setattr(models, "_setting", lambda name: str(tmp_path / "setting"))
    monkeypatch.delenv("SAMORA_WEIGHTS", raising=False)
    assert models_folder() == tmp_path / "setting"
    monkeypatch.setenv("SAMORA_WEIGHTS", str(tmp_path / "variable"))
    assert models_folder() == tmp_path / "variable"
    monkeypatch.setenv("SAMORA_WEIGHTS", "~/weights")
    assert models_folder() == Path.home() / "weights"


@pytest.mark.parametrize("changes", [{"kind": "expert"}, {"kind": "base"}, {"labels": None}, {"preprocessing": None}])
def test_what_lacks_anything_that_a_model_needs_cannot_segment(folder: Path, changes: dict[str, Any]) -> None:
    path = write_checkpoint(folder / "a.safetensors", **changes)
    kind = changes.get("kind", "model")
    assert models.unfit(read_card(path), path) == (f"'a.safetensors' is a checkpoint of kind '{kind}', which cannot "
                                                   "segment by itself; give a trained model.")
    with pytest.raises(ValueError, match="cannot segment by itself"):
        find(path)
    assert not any(model.usable for model in catalogue() if model.id == "a")


def test_a_model_without_labels_is_listed_without_organs(folder: Path) -> None:
    write_checkpoint(folder / "a.safetensors", labels=None, preprocessing=None)
    model = catalogue()[2]
    assert (model.id, model.organs, model.modality, model.usable) == ("a", (), "", False)


def test_a_base_is_only_needed_where_the_card_names_one(folder: Path) -> None:
    whole = write_checkpoint(folder / "whole.safetensors")
    assert models.unfit(read_card(whole), whole) == "" and models.base_names(whole) == []
    part = write_checkpoint(folder / "part.safetensors", base={"name": "elsewhere/base.safetensors", "sha256": "0"})
    assert models.base_names(part) == ["base.safetensors"]
    assert "needs its base weights 'base.safetensors'" in models.unfit(read_card(part), part)
    (folder / "base.safetensors").write_bytes(b"")
    assert models.unfit(read_card(part), part) == ""
    assert models.base_names(folder / "gone.safetensors") == []


def test_our_own_file_of_a_packaged_models_name_is_another_model(folder: Path) -> None:
    """Also if it has as many bytes."""
    packaged = find("demonstration")
    ours = write_checkpoint(folder / "demonstration.safetensors")
    ours.write_bytes(ours.read_bytes() + bytes(packaged.size_bytes - ours.stat().st_size))
    found = find("demonstration")
    assert found.path == ours and found.size_bytes == packaged.size_bytes and found.title == "demonstration"
    assert found.cpu_seconds is None, "nobody has measured it"


def test_a_models_path_is_enough(folder: Path, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "elsewhere/Own.safetensors", name="Ours")
    for name in (path, str(path)):
        model = find(name)
        assert (model.id, model.title, model.path) == ("Own", "Ours", path) and model.checkpoint == path


def test_an_unknown_name_offers_only_what_can_be_used(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "broken.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="choose from ct-abdomen, demonstration, or give the path"):
        find("abdomin")


def test_organs_without_a_title_are_called_by_their_names(folder: Path) -> None:
    model = models.Model("a", "A", organs=("liver", "appendix"))
    assert titles(model) == {"liver": "Liver", "appendix": "appendix"}
    assert titles(models.Model("a", "A", organs=("liver",), path=folder / "gone")) == {"liver": "Liver"}


@pytest.mark.parametrize(("changes", "problem"), [
    ({"size_bytes": 1}, ""), ({"size_bytes": 0}, "lacks its urls, size_bytes or sha256"),
    ({"size_bytes": True}, "size_bytes is True, which is not what belongs there"),
    ({"cpu_seconds": False}, "cpu_seconds is False"), ({"cpu_seconds": 5, "gpu_seconds": 0.5}, ""),
    ({"sha256": "a" * 63}, "lacks its urls"), ({"sha256": "A" * 64}, "lacks its urls"), ({"urls": "a"}, "urls is 'a'"),
    ({"id": "a" * 100}, ""), ({"id": "a" * 101}, "is not an id"), ({"id": "-a"}, "is not an id"),
    ({"colour": "red"}, "'colour' is no field of an entry"), ({"urls": ["--to=/home/user/notes"]}, "is no web address"),
    ({"urls": ["https://a.example/m", "file:///etc/passwd"]}, "is no web address"),
    ({"urls": [1]}, "1 is no web address"),
    ({"urls": ["https://example.org/a\n--to=x"]}, "is no web address")])
def test_an_entry_is_taken_as_it_is_or_not_at_all(folder: Path, changes: dict[str, Any], problem: str) -> None:
    write_catalogue(folder, **changes)
    model = catalogue()[2]
    assert problem in model.problem and bool(model.problem) == bool(problem)
    assert problem or (model.organs, model.urls) == (("liver", "spleen"), ("https://example.org/a",))


def test_hidden_files_and_others_are_no_checkpoints(folder: Path) -> None:
    write_checkpoint(folder / "._a.safetensors")
    write_checkpoint(folder / "b.safetensors.part")
    assert models.checkpoints(folder) == [] and ids() == ["ct-abdomen", "demonstration"]
    assert models.checkpoints(folder / "nowhere") == []
