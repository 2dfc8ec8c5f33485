"""Models that come from a file, and go."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from SAMoraLib.system.files import file_sha256
from SAMoraSlicer import download
from SAMoraSlicer.model_files import deletable, delete, download_arguments, install_from_file, partial_bytes
from SAMoraSlicer.models import Model, catalogue, find
from Testing.slicer.bare_checkpoint import write_catalogue, write_checkpoint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's models folder, not made yet."""
    place = tmp_path / "modèles 模型"
    monkeypatch.setenv("SAMORA_WEIGHTS", str(place))
    return place


def ids() -> list[str]:
    return [model.id for model in catalogue()]


def test_install_from_a_file_copies_it(folder: Path, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "Leber, groß.safetensors")
    model = install_from_file(source)
    assert model.path == folder / "Leber-gro.safetensors" and model.path.read_bytes() == source.read_bytes()
    assert install_from_file(source) == model, "a second time changes nothing"


def test_install_from_a_file_recognises_the_catalogues_model(folder: Path, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "downloaded (1).safetensors")
    write_catalogue(folder, size_bytes=source.stat().st_size, sha256=hashlib.sha256(source.read_bytes()).hexdigest())
    assert install_from_file(source).title == "Abdomen CT"


def test_install_from_a_file_brings_its_base_along(folder: Path, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base.safetensors", kind="base", labels=None, preprocessing=None)
    reference = {"name": base.name, "sha256": file_sha256(base)}
    first = install_from_file(write_checkpoint(tmp_path / "a.safetensors", base=reference))
    other = install_from_file(write_checkpoint(tmp_path / "b.safetensors", base=reference))
    delete(first)
    assert (folder / "base.safetensors").exists(), "the other model needs it"
    delete(other)
    assert list(folder.iterdir()) == []


def test_install_from_a_file_refuses_another_file_of_the_name(folder: Path, tmp_path: Path) -> None:
    first = install_from_file(write_checkpoint(tmp_path / "a.safetensors"))
    before = first.path.read_bytes()
    with pytest.raises(ValueError, match=r"already holds another 'a\.safetensors'"):
        install_from_file(write_checkpoint(tmp_path / "b/a.safetensors", name="another"))
    assert first.path.read_bytes() == before


@pytest.mark.parametrize(("kind", "reason"), [("expert", "of kind 'expert', which cannot segment"),
                                              (None, "not a safetensors file")])
def test_install_from_a_file_refuses_what_is_no_model(folder: Path, tmp_path: Path, kind: str | None,
                                                      reason: str) -> None:
    source = tmp_path / "x.safetensors"
    if kind:
        write_checkpoint(source, kind=kind, labels=None, preprocessing=None)
    else:
        source.write_bytes(b"\x80\x02pickle")
    with pytest.raises(ValueError, match=reason):
        install_from_file(source)
    assert not folder.exists()


def test_a_card_cannot_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("keep", encoding="utf-8")
    write_checkpoint(folder / "evil.safetensors", base={"name": "../secret.txt", "sha256": file_sha256(secret)})
    delete(catalogue()[2])
    assert secret.read_text(encoding="utf-8") == "keep"


def test_a_folder_that_cannot_be_written_gives_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SAMORA_WEIGHTS", str(tmp_path / "file" / "models"))
    assert ids() == ["ct-abdomen", "demonstration"]
    with pytest.raises(OSError, match=r"could not be copied to .* choose another models folder"):
        install_from_file(write_checkpoint(tmp_path / "a.safetensors"))


def test_the_modules_own_model_cannot_be_deleted(folder: Path) -> None:
    with pytest.raises(ValueError, match="comes with the module"):
        delete(find("demonstration"))
    assert find("demonstration").path.is_file()


def test_an_unfinished_download_is_known_and_deleted(folder: Path) -> None:
    write_catalogue(folder)
    (folder / "abdomen-ct.safetensors.part").write_bytes(b"1234")
    model = catalogue()[2]
    assert partial_bytes(model) == 4
    delete(model)
    assert partial_bytes(model) == 0 and ids() == ["ct-abdomen", "demonstration", "abdomen-ct"]


def test_a_download_goes_to_the_place_where_the_model_is_looked_for(folder: Path) -> None:
    write_catalogue(folder, size_bytes=123, urls=["https://a.example/m", "https://b.example/m"])
    program, *arguments = download_arguments(catalogue()[2])
    assert program == download.__file__
    assert arguments == ["--to", str(folder / "abdomen-ct.safetensors"), "--size", "123", "--sha256", "0" * 64,
                         "--", "https://a.example/m", "https://b.example/m"]


def test_what_is_not_in_the_folder_cannot_be_deleted_and_what_has_begun_can(folder: Path) -> None:
    write_catalogue(folder)
    model = catalogue()[2]
    assert not deletable(model) and partial_bytes(model) == 0
    with pytest.raises(ValueError, match="'Abdomen CT' comes with the module and cannot be deleted"):
        delete(model)
    (folder / "abdomen-ct.safetensors.part").write_bytes(b"1")
    assert deletable(model) and not deletable(find("demonstration"))


def test_deleting_takes_the_model_and_its_part_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        install_from_file(write_checkpoint(tmp_path / f"{name}.safetensors"))
    base = write_checkpoint(folder / "base.safetensors", kind="base", labels=None, preprocessing=None)
    (folder / "a.safetensors.part").write_bytes(b"1")
    delete(find("a"))
    assert sorted(path.name for path in folder.iterdir()) == ["b.safetensors", base.name]


def test_an_interrupted_download_of_a_packaged_models_name_is_taken_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "demonstration.safetensors.part").write_bytes(b"1")
    delete(find("demonstration"))
    assert list(folder.iterdir()) == [] and find("demonstration").path.is_file()


@pytest.mark.parametrize(("name", "expected"), [
    ("a" * 150, "a" * 100), ("-..", "model"), ("Größe (1)", "Gr-e-1"), ("a.b_c-1", "a.b_c-1")])
def test_any_file_name_becomes_an_id(folder: Path, tmp_path: Path, name: str, expected: str) -> None:
    assert install_from_file(write_checkpoint(tmp_path / f"{name}.safetensors", name="Ours")).id == expected


def test_a_base_that_is_in_the_way_is_left_alone(folder: Path, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base.safetensors", kind="base", labels=None, preprocessing=None)
    other = write_checkpoint(folder / "base.safetensors", kind="base", name="other", labels=None, preprocessing=None)
    before = other.read_bytes()
    source = write_checkpoint(tmp_path / "a.safetensors", base={"name": base.name, "sha256": file_sha256(base)})
    with pytest.raises(ValueError, match=r"already holds another 'base\.safetensors'"):
        install_from_file(source)
    assert [path.name for path in folder.iterdir()] == [other.name] and other.read_bytes() == before


def test_a_model_that_is_nowhere_is_not_ours(folder: Path) -> None:
    assert not deletable(Model("a", "A"))


def with_base(path: Path, name: str, sha256: str) -> Path:
    return write_checkpoint(path, base={"name": name, "sha256": sha256})


@pytest.mark.parametrize("name", ["Models.json", "notes.txt", "good.safetensors", "expert.safetensors",
                                  "other.safetensors", "../outside.safetensors"])
def test_deleting_a_model_takes_no_file_that_its_card_calls_its_base(folder: Path, tmp_path: Path, name: str) -> None:
    """Neither another model, with its right hash, nor weights of other bytes."""
    write_catalogue(folder)
    write_checkpoint(folder / "good.safetensors")
    write_checkpoint(folder / "expert.safetensors", kind="expert", labels=None, preprocessing=None)
    for path in (folder / "notes.txt", tmp_path / "outside.safetensors", folder / "other.safetensors"):
        path.write_bytes(b"keep")
    sha256 = "0" * 64 if name.startswith("other") else file_sha256(folder / name)
    with_base(folder / "evil.safetensors", name, sha256)
    before = {path: path.read_bytes() for path in [*folder.iterdir(), folder / name] if path.stem != "evil"}
    delete(next(model for model in catalogue() if model.id == "evil"))
    assert {path: path.read_bytes() for path in before} == before and not (folder / "evil.safetensors").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_deleting_waits_for_no_pipe(folder: Path) -> None:
    with_base(folder / "evil.safetensors", "pipe.safetensors", "0" * 64)
    os.mkfifo(folder / "pipe.safetensors")
    delete(next(model for model in catalogue() if model.id == "evil"))
    assert [path.name for path in folder.iterdir()] == ["pipe.safetensors"]


def test_a_folder_that_is_called_as_a_model_stays_with_a_sentence(folder: Path) -> None:
    (folder / "a.safetensors").mkdir(parents=True)
    with pytest.raises(OSError, match=r"a\.safetensors' could not be deleted \(.*\); delete it in the file manager"):
        delete(catalogue()[2])
    assert (folder / "a.safetensors").is_dir()


def test_deleting_a_link_leaves_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    real = write_checkpoint(tmp_path / "real.safetensors")
    folder.mkdir()
    (folder / "a.safetensors").symlink_to(real)
    (folder / "a.safetensors.part").symlink_to(tmp_path / "nowhere")
    delete(find("a"))
    assert list(folder.iterdir()) == [] and real.is_file()


def test_an_unfinished_download_that_is_a_link_counts_nothing_and_goes_as_a_link(folder: Path, tmp_path: Path) -> None:
    write_catalogue(folder)
    (tmp_path / "diary").write_bytes(b"keep")
    (folder / "abdomen-ct.safetensors.part").symlink_to(tmp_path / "diary")
    assert partial_bytes(catalogue()[2]) == 0 and deletable(catalogue()[2])
    delete(catalogue()[2])
    assert (tmp_path / "diary").read_bytes() == b"keep" and not deletable(catalogue()[2])


@pytest.mark.parametrize("name", ["Models.json", "notes.txt", ".hidden.safetensors", "a.safetensors",
                                  "b/c.safetensors"])
def test_installing_brings_nothing_along_that_is_no_base(folder: Path, tmp_path: Path, name: str) -> None:
    beside = tmp_path / "a.safetensors" if name == "a.safetensors" else tmp_path / name
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(b"{}")
    source = with_base(tmp_path / "a.safetensors", name, file_sha256(beside))
    with pytest.raises(ValueError, match=r"which is no name of another file beside it|card is damaged"):
        install_from_file(source)
    assert not folder.exists()


def test_a_base_of_other_bytes_is_not_brought_along(folder: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base.safetensors", kind="base", labels=None, preprocessing=None)
    source = with_base(tmp_path / "a.safetensors", "base.safetensors", "1" * 64)
    with pytest.raises(ValueError, match=r"base\.safetensors' is not the file .* \(its sha256 does not begin with 111"):
        install_from_file(source)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["ct-abdomen", "Demonstration", "CT Abdomen"])
def test_a_file_of_a_packaged_models_name_is_not_installed(folder: Path, tmp_path: Path, name: str) -> None:
    source = write_checkpoint(tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="is a model that comes with the module; rename the new file"):
        install_from_file(source)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["CON", "nul.old", "Com1"])
def test_no_file_is_installed_under_a_name_that_windows_keeps(folder: Path, tmp_path: Path, name: str) -> None:
    assert install_from_file(write_checkpoint(tmp_path / f"{name}.safetensors")).id == f"model-{name}"


@pytest.mark.parametrize("lies_there", ["capitals", "folder", "link"])
def test_what_lies_in_a_new_files_place_is_left_alone(folder: Path, tmp_path: Path, lies_there: str) -> None:
    folder.mkdir()
    if lies_there == "capitals":
        write_checkpoint(folder / "LIVER.safetensors")
    elif lies_there == "folder":
        (folder / "liver.safetensors").mkdir()
    else:
        (folder / "liver.safetensors").symlink_to(tmp_path / "nowhere")
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match="already holds another '"):
        install_from_file(write_checkpoint(tmp_path / "liver.safetensors"))
    assert sorted(folder.iterdir()) == before and not (tmp_path / "nowhere").exists()
