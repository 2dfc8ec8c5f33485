"""What people send to strangers names no patient, no account and no folder, however a program has spelt them."""

from __future__ import annotations

import html
import json
import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

import SAMoraLib
from SAMoraSlicer.report import anonymous

FOLDER = Path("/srv/Klinik Süd/Müller, Hans 1950-01-31/O'Brien \"x\" & <i>")
FILE = FOLDER / "Thorax Meyerbeer_4711234.nii.gz"
SECRETS = ("müller", "mueller", "hans", "klinik", "süd", "brien", "meyerbeer", "4711234", "thorax", "1950", "ller",
           "m%c3", "\\xfc", "\\u00fc", "srv")
SPELT: dict[str, Callable[[str], str]] = {
    "as it is": str, "lower": str.lower, "upper": str.upper, "repr": repr, "ascii": ascii, "JSON": json.dumps,
    "bytes": lambda text: repr(os.fsencode(text)), "address": lambda text: f"file://{quote(text)}",
    "quoted": lambda text: quote(text, safe=""), "form": quote_plus, "HTML": html.escape,
    "NFD": lambda text: unicodedata.normalize("NFD", text), "Windows": lambda text: text.replace("/", "\\"),
    "JSON of Windows": lambda text: json.dumps(text.replace("/", "\\")), "Latin 1": lambda text: text.encode().decode(
        "latin-1"), "in a sentence": lambda text: f"'{text}' cannot be read; it is damaged.",
    "before a colon": lambda text: f"error:{text}: bad header", "option": lambda text: f"--input={text} --json",
}


def reveals(text: str) -> list[str]:
    folded = unicodedata.normalize("NFC", text).casefold()
    return [secret for secret in SECRETS if secret in folded]


@pytest.mark.parametrize("spelt", SPELT)
@pytest.mark.parametrize("path", [FILE, FOLDER, FOLDER / "IM0001"], ids=["file", "folder", "slice"])
def test_a_known_path_is_masked_in_every_spelling(path: Path, spelt: str) -> None:
    said = anonymous(f"WARNING: {SPELT[spelt](str(path))}\nnext line", [path])
    assert reveals(said) == [] and said.startswith("WARNING: ") and said.endswith("\nnext line")


@pytest.mark.parametrize("spelt", SPELT)
def test_every_part_of_a_known_path_is_masked_alone(spelt: str) -> None:
    for part in (*FILE.parts[1:], FILE.name.removesuffix(".nii.gz"), "Hans", "Meyerbeer", "4711234"):
        assert reveals(anonymous(f"In {SPELT[spelt](part)} it stopped.", [FILE])) == []


@pytest.mark.parametrize("text", [
    "'/data/Schmidt Eva/a.nii' cannot be read", "/data/Schmidt Eva/a.nii", "open(/data/Schmidt Eva/a.nii)",
    r"C:\Kliniken\Schmidt Eva\a.nii", r"'\\server\Schmidt\a.nii'", "~/Schmidt/a.nii", "data/Schmidt/a.nii.gz: bad",
    "file:///data/Schmidt%20Eva/a", '"C:\\\\data\\\\Schmidt\\\\a.nii"', "error:/data/Schmidt", "'/data/Schmidt Ev",
    "../Schmidt/a.nii", "'/a/b' and '/data/Schmidt/d' differ", "%2Fdata%2FSchmidt", "b'/data/O\\'Hara Schmidt/a'"])
def test_paths_that_nobody_knew_are_masked_too(text: str) -> None:
    said = anonymous(text)
    assert "Schmidt" not in said and "Eva" not in said and "<path of " in said


@pytest.mark.parametrize("spelt", SPELT)
def test_what_lies_below_a_known_folder_is_masked(spelt: str) -> None:
    said = anonymous(f"saw {SPELT[spelt](str(FOLDER / 'Schmidt Eva' / 'x y'))}", [FOLDER])
    assert reveals(said) == [] and "schmidt" not in said.casefold() and "eva" not in said.casefold()


def test_what_helps_is_kept() -> None:
    assert anonymous(f"'{FILE}' cannot be read; it is damaged.", [FILE]) == (
        "'<path of 5 parts, .nii.gz>' cannot be read; it is damaged.")
    assert anonymous(f"{FILE}: bad header", [FILE]) == "<path of 5 parts, .nii.gz>: bad header"
    assert anonymous(f"'{FILE}' and '{FOLDER}' differ", [FILE, FOLDER]) == (
        "'<path of 5 parts, .nii.gz>' and '<path of 4 parts>' differ")
    assert anonymous("Meyerbeer.nii.gz holds NaN", ["Meyerbeer"]) == "<name>.nii.gz holds NaN"
    assert anonymous("/a/b.dcm: No pixel data") == "<path of 2 parts, .dcm>: No pixel data"
    for line in ("3/4 of 50 / 60 slices, 1.2 it/s", "see https://example.org/a/b", "device: cuda:0, liver, 93 %",
                 "RuntimeError: shape (1, 2) and (3,) differ", "x = a // b"):
        assert anonymous(line, [FILE, "Leber"]) == line


def test_the_programs_own_files_are_named_without_where_they_lie() -> None:
    trace = (f'  File "{SAMoraLib.__file__}", line 5, in a\n  File "{os.__file__}", line 7, in b\n'
             '  File "/home/meyer/.local/lib/python3.12/site-packages/torch/nn/linear.py", line 9, in c\n'
             '  File "C:\\Users\\meyer\\site-packages\\monai\\a.py", line 3, in d\n'
             "WARNING: In /build/meyer/ITK/itkNiftiImageIO.cxx, line 2041")
    said = anonymous(trace)
    for kept in ('"<program>/SAMoraLib/__init__.py", line 5', '/os.py", line 7', '"<packages>/torch/nn/linear.py"',
                 '"<packages>/monai/a.py", line 3', "<path>/itkNiftiImageIO.cxx, line 2041"):
        assert kept in said
    assert "meyer" not in said and str(Path(SAMoraLib.__file__).parent) not in said and sys.prefix not in said


def test_patients_below_the_programs_folder_are_none_of_its_files() -> None:
    folder = Path(SAMoraLib.__file__).parent
    assert "Schmidt" not in anonymous(f"'{folder}/Schmidt/ct.nii' and {folder}/Schmidt/x.nii")


def test_accounts_and_computers_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/hmeyer")
    monkeypatch.setenv("USERPROFILE", "")
    monkeypatch.setenv("USER", "Doctor7")
    monkeypatch.setattr("platform.node", lambda: "ward3.example.org")
    said = anonymous("hmeyer and DOCTOR7 on ward3.example.org or ward3; /home/hmeyer/x")
    assert said == "<name> and <name> on <name> or <name>; <path of 3 parts>"


def test_names_are_masked_where_they_are_no_part_of_a_word() -> None:
    assert anonymous("Ann, ANN_1 and annual", ["Ann"]) == "<name>, <name>_1 and annual"
    assert anonymous("470012 of 2470012, 470012.5", ["470012"]) == "<name> of 2470012, <name>.5"
    assert anonymous("a name of one letter", ["a", ""]) == "a name of one letter"
    assert anonymous("<img src=x> (a)", ["<img src=x>", "(a)"]) == "<name> <name>"


def test_words_of_a_name_are_masked_too() -> None:
    said = anonymous("PatientName: SCHMIDT_EVA 19500131 in slice 3", ["Schmidt^Eva", "CT Thorax 19500131 slice"])
    assert said == "PatientName: <name>_<name> <name> in slice 3"


@pytest.mark.parametrize("text", [
    "samora: 'SCHMIDT_EVA.CT.ABDOMEN.0002.0000.2019.11.05.IMA' does not say where its slice lies",
    "'Schmidt O'Hara.dcm', 'SCHMIDT.0001.Dcm' cannot be read", "'SCHMIDT_EVA.CT.12' is damaged", "Schmidt.nii.gz: bad",
    "'Schmidt' in 'Klinik' does not say where its slice lies", "'Klinik' holds 'Schmidt' and 'SCHMIDT 2'",
    "<file>/data/Schmidt/x</file>", "gcc -I/data/Schmidt/inc", "-o/data/Schmidt/a", "Schmidt_Eva/series1/IM0001",
    "read Klinik/Schmidt", "read Schmidt/Klinik/x", r"Schmidt_Eva\series1\IM0001", "see Schmidt/Eva.nii.gz, bad"])
def test_slices_and_relative_paths_are_masked_too(text: str) -> None:
    said = anonymous(text, [Path("/srv/Klinik")])
    assert not {"schmidt", "eva", "klinik"} & set(re.findall("[a-z]+", said.casefold()))
    assert ".gz," not in said, "an ending is told whole"


@pytest.mark.parametrize(("private", "text"), [
    (Path("/srv/王伟/ct"), "of 王伟 here"), ("Ng^Wei", "of Ng, WEI here"), ("CT Ng^Wei", "of ng wei here"),
    (Path("/srv/Øø/ct"), "of Øø here")])
def test_short_names_are_masked(private: str | Path, text: str) -> None:
    assert set(re.findall(r"[\w<>]+", anonymous(text, [private]))) == {"of", "<name>", "here"}


@pytest.mark.parametrize("private", [
    *map(Path, ("/srv/in/ct", "/srv/on/batch", "/srv/8/device", "/srv/2024/a.nii")), "8", "in", "Batch", "CT", "is"])
def test_what_is_called_by_a_word_of_everybodys_masks_none(private: str | Path) -> None:
    line = "device: cuda:0, 8 of 2024 slices in CT; a batch on no MR is done </b> <br /> image/jpeg"
    assert anonymous(line, [private]) == line


def test_the_programs_own_words_stay_in_quotes() -> None:
    line = "'model' needs 'cuda:0'; 'manifest.json' and 'labels.nii.gz' in ../aten/src/ATen/native/Kernel.cu:94"
    assert anonymous(line) == line.replace("../aten/src/ATen/native", "<path>")


@pytest.mark.parametrize("text", ["a/", "a+", "'", "<name>", ".nii", "a.nii/", "/", "^", "a'"])
def test_no_text_takes_long(text: str) -> None:
    def seconds(count: int) -> float:
        begun = time.perf_counter()
        anonymous(text * count)
        return time.perf_counter() - begun

    assert seconds(8000) < 100 * max(0.001, min(seconds(1000) for _ in range(3))), "not with the cube"


def test_a_masked_text_stays_as_it_is() -> None:
    once = anonymous(f"'{FILE}' and '/x/y.nii' in {SAMoraLib.__file__}", [FILE])
    assert anonymous(once, [FILE]) == once


def test_thousands_of_patients_take_a_moment() -> None:
    text = "\n".join(f"line {number} of a log" for number in range(400))

    def seconds(count: int) -> float:
        paths = [Path(f"/srv/Fall {number}/Müller {number}/ct{number}.nii.gz") for number in range(count)]
        begun = time.perf_counter()
        anonymous(text, paths)
        return time.perf_counter() - begun

    few = min(seconds(500) for _ in range(3))
    assert seconds(5000) < 40 * few, "in proportion"


def test_a_short_name_of_a_file_is_masked_without_its_ending() -> None:
    assert anonymous("of Xu here, Xu.nii.gz is bad", [Path("/srv/Xu.nii.gz")]) == "of <name> here, <name>.nii.gz is bad"
