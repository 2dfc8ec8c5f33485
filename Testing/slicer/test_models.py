"""The list of models: what is offered, found, installed and deleted."""

from __future__ import annotations

import os
import re
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
from Testing.slicer.hostile_models import fill, seconds_of


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
    for model in models._packaged():
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
    assert ids() == ["ct-abdomen", "demonstration", "Models.json, entry 1"]
    assert "cannot be used" in catalogue()[2].problem


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
    assert ids()[:2] == ["ct-abdomen", "demonstration"] and ids()[2].startswith("Models.json")
    assert re.search("cannot be (read|used)", catalogue()[2].problem)


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
    part = write_checkpoint(folder / "part.safetensors", base={"name": "base.safetensors", "sha256": "0" * 64})
    assert models.base_names(part) == ["base.safetensors"]
    assert "needs its base weights 'base.safetensors'" in models.unfit(read_card(part), part)
    (folder / "base.safetensors").write_bytes(b"")
    assert models.unfit(read_card(part), part) == ""
    assert models.base_names(folder / "gone.safetensors") == []


@pytest.mark.parametrize("name", ["demonstration", "CT-Abdomen", "Demonstration (CT, not for patients)", "models.JSON"])
def test_a_file_of_a_packaged_models_name_does_not_take_its_place(folder: Path, name: str) -> None:
    """Also if it has as many bytes."""
    packaged = find("demonstration")
    ours = write_checkpoint(folder / f"{name}.safetensors")
    ours.write_bytes(ours.read_bytes() + bytes(packaged.size_bytes - ours.stat().st_size))
    assert catalogue()[:2] == models._packaged() and find("demonstration") == packaged
    refused = catalogue()[2]
    assert (refused.id, refused.path, refused.usable) == (ours.name, ours, False)
    assert refused.problem.endswith("has the name of another model, which it does not replace; rename the file.")
    delete(refused)
    assert not ours.exists() and find("demonstration") == packaged


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


def test_every_hostile_file_is_listed_with_a_sentence_and_nothing_raises(folder: Path) -> None:
    folder.mkdir()
    fill(folder, 70)
    own, listed = catalogue()[:2], catalogue()[2:]
    assert own == models._packaged() and all(model.usable for model in own)
    assert sorted(model.path for model in listed) == sorted(folder.iterdir())
    assert len({model.id for model in listed}) == 70
    for model in listed:
        assert not model.usable and model.problem and "\n" not in model.problem, model
        assert len(model.problem) < 700 and (model.id + model.title + model.problem).isprintable()
        assert titles(model) is not None
    with pytest.raises(ValueError, match="no model 'abdomin'; choose from ct-abdomen, demonstration, or give"):
        find("abdomin")


def test_the_panel_opens_over_a_hostile_folder(folder: Path, module: Any) -> None:
    from Testing.slicer import harness

    folder.mkdir()
    fill(folder, 70)
    ui = harness.make_widget("SAMora").ui
    assert ui.modelsTree.topLevelItemCount == ui.modelSelector.count == 72
    for row in range(72):
        ui.modelsTree.setCurrentItem(ui.modelsTree.topLevelItem(row))
        ui.modelSelector.currentIndex = row


@pytest.mark.slow
def test_a_hostile_folder_takes_no_longer_to_list_than_a_good_one(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured: 0.6 times as long, 0.04 s for 200 files."""
    monkeypatch.setenv("SAMORA_WEIGHTS", "")
    good, hostile = tmp_path / "good", tmp_path / "hostile"
    for number in range(200):
        write_checkpoint(good / f"{number}.safetensors")
    hostile.mkdir()
    fill(hostile, 200)
    assert seconds_of(hostile) < 3 * seconds_of(good)


@pytest.mark.parametrize("kind", ["model", "none"])
def test_a_card_hides_no_model_by_calling_it_its_base(folder: Path, kind: str) -> None:
    good = write_checkpoint(folder / "good.safetensors")
    reference = {"name": good.name, "sha256": file_sha256(good)}
    write_checkpoint(folder / "evil.safetensors", kind=kind, base=reference)
    assert find("good").path == good and find("good").usable and "evil" in ids()


def test_a_base_without_a_card_is_no_model_where_a_model_names_it(folder: Path) -> None:
    """As Meta's weights in another format."""
    write_checkpoint(folder / "needs.safetensors", base={"name": "sam.safetensors", "sha256": "0" * 64})
    (folder / "sam.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    assert ids()[2:] == ["needs"]
    write_checkpoint(folder / "needs.safetensors")
    assert ids()[2:] == ["needs", "sam"] and "carries no SAMora card" in catalogue()[3].problem


@pytest.mark.parametrize("name", ["../other.safetensors", "/other.safetensors", "a\\b.safetensors", "C:b.safetensors",
                                  ".hidden.safetensors", "..", "", "Models.json", "notes.txt", "b\0.safetensors",
                                  "b" * 300 + ".safetensors"])
def test_a_base_is_a_plain_name_of_weights(folder: Path, name: str) -> None:
    assert models.base_name({"name": name}) == ""
    assert models.base_name({"name": "sam_vit_b_01ec64.pth"}) == "sam_vit_b_01ec64.pth"


@pytest.mark.parametrize(("letters", "fits"), [(200, True), (201, False)])
def test_a_bases_name_has_up_to_200_letters(letters: int, fits: bool) -> None:
    name = "b" * (letters - len(".safetensors")) + ".safetensors"
    assert models.base_name({"name": name}) == (name if fits else "")


@pytest.mark.parametrize(("letters", "shown"), [(600, "x" * 600), (601, "x" * 600 + "...")])
def test_a_problem_has_up_to_600_letters(letters: int, shown: str) -> None:
    assert models._unusable("a\nb", "x" * letters) == models.Model("a\\nb", "a\\nb", problem=shown)


def test_a_file_that_differs_in_capitals_alone_is_said(folder: Path) -> None:
    write_checkpoint(folder / "LIVER.safetensors")
    write_checkpoint(folder / "liver.safetensors")
    if len(models.checkpoints(folder)) == 2:
        assert ids()[2:] == ["LIVER", "liver.safetensors"] and not catalogue()[3].usable


def test_a_folder_of_thousands_is_listed_so_far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MOST_FILES", 3)
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.safetensors").write_bytes(b"")
    listed = catalogue()[2:]
    assert [model.id for model in listed] == ["0", "1", "2", "..."]
    assert "has 5 files that end in '.safetensors', and 3 are listed" in listed[-1].problem
    monkeypatch.setattr(models, "MOST_FILES", 5)
    assert ids()[2:] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("place", ["~nobody-of-that-name/models", "a\0b"])
def test_a_setting_that_is_no_path_leaves_the_modules_own(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.delenv("SAMORA_WEIGHTS", raising=False)
    monkeypatch.setattr(models, "_setting", lambda name: place)
    assert ids() == ["ct-abdomen", "demonstration"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("kind", ["pipe", "folder", "gone", "circle", "device"])
def test_a_list_that_is_no_file_is_a_sentence(folder: Path, kind: str) -> None:
    folder.mkdir()
    path = folder / "Models.json"
    make = {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "gone": lambda: path.symlink_to("nowhere"),
            "circle": lambda: path.symlink_to(path.name), "device": lambda: path.symlink_to("/dev/zero")}
    make[kind]()
    assert ids() == ["ct-abdomen", "demonstration", "Models.json"]
    assert catalogue()[2].problem.startswith(f"The list of models '{path}' cannot be read (")


@pytest.mark.parametrize("changes", [{"id": "CT-abdomen"}, {"id": "demonstration"}, {"title": "ct-abdomen"},
                                     {"title": "Demonstration (CT, not for patients)"}, {"id": "Models.json"},
                                     {"file": "demo/demo.safetensors"}])
def test_an_entry_does_not_take_the_place_of_a_packaged_model(folder: Path, changes: dict[str, Any]) -> None:
    write_catalogue(folder, **changes)
    assert ids() == ["ct-abdomen", "demonstration", "Models.json, entry 1"] and catalogue()[:2] == models._packaged()
    assert "cannot be used" in catalogue()[2].problem


def test_two_models_of_one_title_are_not_chosen_by_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = [models.Model("a", "Liver"), models.Model("b", "Liver")]
    monkeypatch.setattr(models, "catalogue", lambda: same)
    with pytest.raises(ValueError, match="2 models are called 'Liver'; give an id: a, b"):
        find("Liver")
    monkeypatch.setattr(models, "catalogue", lambda: [models.Model("evil", "a", path=folder), *same])
    with pytest.raises(FileNotFoundError, match="The model 'a' is not on this computer"):
        find("a")
