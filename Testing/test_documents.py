"""What the documents point at is there: links, files, modules; and the maps of the code are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from Testing.folders import ROOT

DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"),
                                                          ROOT / "Training" / "README.md")
                   if path.name != "CHANGELOG.md")  # it tells of what was
FOLDERS = ("", "SAMoraLib", "Training", "SAMora", "SAMora/SAMoraSlicer", "Testing", "docs")  # a path may begin in them
MADE_UP = re.compile(r"NAME|CASE|OUTPUT|FOLDER|RUN|DIR|runs/|lists/")
IN_ORDER = ("prepare", "pretrain_base", "stage1_teacher", "stage1_expert", "probe", "stage2_finetune", "evaluate",
            "compare")


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def is_there(path: str) -> bool:
    return any((ROOT / folder / path).exists() for folder in FOLDERS) or any(ROOT.glob(f"*/**/{path}"))


def folders_of(package: str) -> set[str]:
    """Those with something in them: what is compiled stays behind when a folder goes."""
    return {path.name for path in (ROOT / package).iterdir()
            if path.is_dir() and any(file.is_file() and "__pycache__" not in file.parts for file in path.rglob("*"))}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", read(document)):
        name, _, anchor = target.partition("#")
        if not name.startswith(("http://", "https://")):
            path = (ROOT / document).parent / name if name else ROOT / document
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_are_there(document: str) -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|sh|yaml|toml|sbatch))`", read(document))
    missing = [name for name in named if not MADE_UP.search(name) and not is_there(name)]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_folders_that_are_named_are_there(document: str) -> None:
    named = re.findall(r"`((?:SAMoraLib|Training|SAMora|Testing|docs)/[\w/]*/)`", read(document))
    assert not [name for name in named if not (ROOT / name).is_dir()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules_that_are_run_are_there(document: str) -> None:
    for module in re.findall(r"python -m ((?:Training|Testing|SAMoraLib)[\w.]*)", read(document)):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def rows_of_training() -> list[str]:
    """The first cells of the map's tables."""
    return re.findall(r"^\| `([\w/]+(?:\.py|/))` \|", read("Training/README.md"), re.MULTILINE)


def test_the_map_of_training_is_whole() -> None:
    scripts = {path.name for path in (ROOT / "Training").glob("*.py")} - {"__init__.py"}
    assert sorted(rows_of_training()) == sorted([*scripts, *(f"{name}/" for name in folders_of("Training"))])


def test_the_map_of_training_is_in_the_order_of_work() -> None:
    rows = [name.removesuffix(".py") for name in rows_of_training()]
    places = [rows.index(name) for name in IN_ORDER]
    assert places == sorted(places)


def test_the_rooms_of_the_architecture_are_those_of_the_tree() -> None:
    document = read("docs/architecture.md")
    for package in ("SAMoraLib", "Training"):
        folders = folders_of(package)
        [table] = re.findall(rf"^\| `{package}/` \|.*?\n\n", document, re.MULTILINE | re.DOTALL)
        told = set(re.findall(r"`(\w+)/`", table)) - {package}
        assert told == folders, package


def test_every_word_of_the_glossary_is_explained_once() -> None:
    words = re.findall(r"^\| ([^|]+) \| [^|]+ \|", read("docs/glossary.md"), re.MULTILINE)[1:]
    assert len(words) > 30 and words == sorted(set(words), key=str.lower)


def test_the_first_command_of_samora_comes_after_its_installation() -> None:
    text = read("README.md")
    assert text.index("pip install .") < re.search(r"^samora ", text, re.MULTILINE).start()  # type: ignore[union-attr]
