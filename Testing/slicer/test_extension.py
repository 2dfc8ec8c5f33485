"""The extension as Slicer's build packages it and as the extension index's validator reads it.

The validator is scripts/check_description_files.py of github.com/Slicer/ExtensionsIndex; its downloads are replaced
by a look at the file that an address leads to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import matplotlib.image
import numpy as np
import pytest

from Testing.folders import ROOT

FILE_LISTS = {"SAMora": ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"),
              "SAMoraLib": ("SAMoraLib_PYTHON_SCRIPTS", "SAMoraLib_PYTHON_RESOURCES")}
LISTS = [(folder, name) for folder, names in FILE_LISTS.items() for name in names]
RAW = "https://raw.githubusercontent.com/"
# Of schema 1.0.1, which every branch of the index accepts: key -> type; nothing else may stand there.
SCHEMA = {"$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str,
          "build_dependencies": list, "build_subdirectory": str, "enabled": bool, "tier": int}


def listed(folder: str, variable: str) -> list[str]:
    """The entries of a ``set(VARIABLE ...)`` of a folder's CMakeLists.txt."""
    text = (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")
    block = re.search(rf"^set\({variable}\n(.*?)\)", text, re.DOTALL | re.MULTILINE)
    assert block, f"{folder}/CMakeLists.txt: set({variable} ...) is missing"
    return [line.strip() for line in block[1].splitlines() if line.strip()]


def in_the_tree(folder: str, scripts: bool) -> set[str]:
    """Files that the package needs: all but the build's own, caches and hidden ones; paths relative to ``folder``."""
    files = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in files
            if path.name != "CMakeLists.txt" and (path.suffix == ".py") == scripts
            and not any(part.startswith(".") or part == "__pycache__" for part in path.parts)}


@pytest.mark.parametrize(("folder", "variable"), LISTS)
def test_the_cmake_lists_hold_every_file_once(folder: str, variable: str) -> None:
    entries, files = listed(folder, variable), in_the_tree(folder, scripts=variable.endswith("SCRIPTS"))
    problems = [f"add the line '  {name}'" for name in sorted(files - set(entries))]
    problems += [f"remove the line '  {name}'; there is no such file" for name in sorted(set(entries) - files)]
    problems += [f"remove one of the lines '  {name}'" for name in sorted({n for n in entries if entries.count(n) > 1})]
    assert not problems, f"{folder}/CMakeLists.txt, set({variable} ...):\n" + "\n".join(problems)


def test_only_our_three_names_reach_slicers_common_folder() -> None:
    """All extensions share one folder on sys.path, and a .py directly in it is taken for a module."""
    scripts = listed("SAMora", "MODULE_PYTHON_SCRIPTS")
    assert {name.split("/")[0] for name in scripts} == {"SAMora.py", "SAMoraSlicer"}
    assert {name.split("/")[0] for name in listed("SAMora", "MODULE_PYTHON_RESOURCES")} == {"Resources"}


@pytest.mark.parametrize("folder", FILE_LISTS)
def test_every_folder_of_scripts_is_a_package(folder: str) -> None:
    scripts = listed(folder, FILE_LISTS[folder][0])
    for package in {str(Path(name).parent) for name in scripts} - {"."}:
        assert f"{package}/__init__.py" in scripts


@pytest.mark.parametrize("name", ["CMakeLists.txt", "SAMora/CMakeLists.txt", "SAMoraLib/CMakeLists.txt", "SAMora.json"])
def test_lines_end_as_the_index_wants_them(name: str) -> None:
    content = (ROOT / name).read_bytes()
    assert b"\r" not in content and content.endswith(b"\n") and content.isascii()


def test_the_packaged_files_run_without_the_clone(tmp_path: Path) -> None:
    """As installed: module, its package and the library beside each other in one folder, and nothing else."""
    installed = tmp_path / "qt-scripted-modules"
    for folder, variable in LISTS:
        target = installed / "SAMoraLib" if folder == "SAMoraLib" else installed
        for name in listed(folder, variable):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / folder / name, target / name)
    code = ("import runpy, sys\n"
            f"sys.argv = ['segment_batch.py', '--help']\n"
            f"try: runpy.run_path({str(installed / 'SAMoraSlicer/segment_batch.py')!r}, run_name='__main__')\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "import SAMoraLib, SAMoraSlicer\n"
            "print(SAMoraLib.__file__, SAMoraSlicer.__file__, sep='\\n')")
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                         check=False, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert run.returncode == 0, run.stderr
    library, package = (Path(line) for line in run.stdout.splitlines()[-2:])
    assert library == installed / "SAMoraLib/__init__.py" and package == installed / "SAMoraSlicer/__init__.py"


@pytest.fixture(scope="module")
def top() -> str:
    return (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def entry() -> dict[str, object]:
    return json.loads((ROOT / "SAMora.json").read_text(encoding="utf-8"))


def value(top: str, name: str) -> str:
    """A one-line ``set(NAME "...")``, the only form that the validator's expressions match."""
    found = re.findall(rf'set\s*\({name}\s*"([^"]+)"\)', top, re.IGNORECASE | re.MULTILINE)
    assert len(found) == 1, f"CMakeLists.txt: {name} must stand once, on one line, in quotes"
    return found[0].strip()


def test_the_catalogue_entry_fits_its_schema(entry: dict[str, object]) -> None:
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(SCHEMA)
    assert all(type(content) is SCHEMA[key] for key, content in entry.items())
    assert str(entry["$schema"]).endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert entry["category"] == "Segmentation"  # one of the index's list
    assert entry["tier"] in (1, 3, 5)
    assert urlsplit(str(entry["scm_url"])).scheme == "https"


def test_name_and_repository_follow_the_indexs_rules(top: str, entry: dict[str, object]) -> None:
    name = re.findall(r"project\s*\(\s*([^\s)]+)", top, re.IGNORECASE)[0]
    assert name == "SAMora" and not name.lower().startswith("slicer")  # and SAMora.json is called like it
    assert Path(urlsplit(str(entry["scm_url"])).path).stem == "SlicerSAMora"
    assert any((ROOT / name).is_file() for name in ("LICENSE", "LICENSE.txt", "COPYING"))


def test_all_addresses_are_of_one_repository(top: str, entry: dict[str, object]) -> None:
    home = value(top, "EXTENSION_HOMEPAGE")
    assert entry["scm_url"] == home + ".git"
    pictures = [value(top, "EXTENSION_ICONURL"), *value(top, "EXTENSION_SCREENSHOTURLS").split()]
    prefix = home.replace("https://github.com/", RAW) + f"/{entry['scm_revision']}/"
    assert all(address.startswith(prefix) for address in pictures)


def test_icon_and_screenshots_are_pictures_in_the_tree(top: str) -> None:
    for address in [value(top, "EXTENSION_ICONURL"), *value(top, "EXTENSION_SCREENSHOTURLS").split()]:
        path = ROOT / address.removeprefix(RAW).split("/", 3)[3]
        assert path.is_file(), f"{address} leads to no file; 'make panel' makes the pictures in docs/pictures/slicer"
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_dependencies_stand_the_same_in_both_files(top: str, entry: dict[str, object]) -> None:
    assert value(top, "EXTENSION_DEPENDS").split() == entry["build_dependencies"] == ["PyTorch"]


def test_the_description_is_one_or_two_plain_sentences(top: str) -> None:
    description = value(top, "EXTENSION_DESCRIPTION")
    assert 1 <= description.count(". ") + 1 <= 2 and description.endswith(".")
    assert "not a medical device" in description and ";" not in description  # CMake would split a list there
    assert value(top, "EXTENSION_CONTRIBUTORS")


def test_the_wizards_mark_and_the_packaging_lines_are_there(top: str) -> None:
    steps = ["find_package(Slicer REQUIRED)", "include(${Slicer_USE_FILE})", "add_subdirectory(SAMora)",
             "add_subdirectory(SAMoraLib)", "## NEXT_MODULE", "include(${Slicer_EXTENSION_GENERATE_CONFIG})",
             "include(${Slicer_EXTENSION_CPACK})"]
    places = [top.index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["SAMora.png", "SAMora/Resources/Icons/SAMora.png"])
def test_icons_are_128_pixels_on_a_transparent_ground(name: str) -> None:
    picture = matplotlib.image.imread(ROOT / name)
    assert picture.shape == (128, 128, 4)
    assert not picture[[0, 0, -1, -1], [0, -1, 0, -1], 3].any()
    assert 0.4 < np.mean(picture[..., 3] > 0.5) < 0.9


def test_the_clone_is_small_enough_for_the_index() -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]
    if not files:
        pytest.skip("not a git clone")
    assert sum(path.stat().st_size for path in files) < 50e6  # 100 MB is the limit, with the history
