"""What a newcomer may rely on: short functions, no circles, and every file in the room that its job has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from Testing import house
from Testing.folders import ROOT

LONGEST, LONG, LONG_ONES = 60, 45, 3  # lines of any function; of a function of the product; how many may be longer


def test_no_function_is_long() -> None:
    everywhere = house.functions(*house.PRODUCT, "Testing")
    assert not [str(place) for place in everywhere if place.count > LONGEST]
    long_ones = [str(place) for place in house.functions(*house.PRODUCT) if place.count > LONG]
    assert len(long_ones) <= LONG_ONES, long_ones


def test_a_statement_holds_one_comprehension() -> None:
    crowded = [str(place) for place in house.crowded_statements(*house.PRODUCT)]
    assert len(crowded) <= 3, crowded


READERS = {  # what reads files from elsewhere, and the only places where it may
    r"\bjson\.loads?\(": {"SAMoraLib/system/untrusted_json.py", "SAMoraLib/system/child.py", "SAMoraLib/request.py"},
    r"\byaml\.\w*load|yaml\.compose|SafeLoader": {"Training/settings/untrusted_yaml.py"},
    r"\btorch\.load\(|\bload_file\(|\bsafe_open\(": {"SAMoraLib/weights/tensors.py"},
    r"\bnp\.load\((?!.*allow_pickle=False)|(?<![.\w])(eval|exec)\(|\bpickle\.loads?\(|\bmarshal\b": set(),
}


@pytest.mark.parametrize("pattern", READERS)
def test_files_from_elsewhere_have_one_reader_each(pattern: str) -> None:
    sources = [path for folder in house.PRODUCT for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in sources if re.search(pattern, path.read_text(encoding="utf-8"))}
    assert found == READERS[pattern], "read it by what is there, which knows its bounds"


def test_no_modules_import_each_other() -> None:
    assert not house.circles(house.imports(*house.PRODUCT))


def test_a_circle_would_be_seen() -> None:
    assert house.circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [("b", "c")]


def test_nothing_in_a_folder_of_training_imports_what_is_run() -> None:
    upward = [f"{name} -> {target}" for name, targets in house.imports("Training").items() if name.count(".") > 1
              for target in targets if target.count(".") == 1 and (ROOT / f"{target.replace('.', '/')}.py").is_file()]
    assert not upward


def test_the_top_of_training_is_what_is_run() -> None:
    scripts = [path for path in (ROOT / "Training").glob("*.py") if path.name != "__init__.py"]
    assert scripts and not [path.name for path in scripts if "__main__" not in path.read_text(encoding="utf-8")]


def test_the_top_of_the_library_is_the_products_nouns() -> None:
    assert len(list((ROOT / "SAMoraLib").glob("*.py"))) <= 13


def test_every_source_has_a_test_file_of_its_name_in_the_mirrored_place() -> None:
    """And what has none says nothing that a test could hold; CONTRIBUTING.md has the kinds."""
    missing = [str(source.relative_to(ROOT)) for source in house.sources(*house.PRODUCT)
               if house.says_something_to_test(source) and "def test_" not in _text(house.mirror(source))]
    assert not missing


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@pytest.mark.parametrize(("name", "test"), [
    ("SAMoraLib/card.py", "library/test_card.py"), ("SAMora/SAMora.py", "slicer/test_SAMora.py"),
    ("Training/data/slices.py", "training/data/test_slices.py"),
    ("SAMora/SAMoraSlicer/panel/run.py", "slicer/panel/test_run.py"),
])
def test_the_mirrored_place(name: str, test: str) -> None:
    assert house.mirror(ROOT / name) == ROOT / "Testing" / test


@pytest.mark.parametrize(("source", "expected"), [
    ('"""A type."""\nfrom a import b\n\n@b\nclass A:\n    """Of it."""\n    c: int = 0\n', False),
    ("class A:\n    def b(self):\n        return 1\n", True), ("class A:\n    b: int\n\nTABLE = {1: A}\n", True),
    ("TABLE = {1: 2}\n", True), ("class A: ...\ndef b(): ...\n", True), ("from a import b\n", True),
    ("try:\n    import a\nexcept ImportError:\n    a = None\n", True),
])
def test_types_alone_need_no_test(tmp_path: Path, source: str, expected: bool) -> None:
    (tmp_path / "a.py").write_text(source, encoding="utf-8")
    assert house.says_something_to_test(tmp_path / "a.py") is expected
    (tmp_path / "a.py").rename(tmp_path / "__main__.py")
    assert not house.says_something_to_test(tmp_path / "__main__.py")


def test_imports_stand_at_the_top() -> None:
    assert not house.lines_with(r"noqa: E402", *house.PRODUCT, "Testing/library", "Testing/training", "Testing/slicer")


def test_blocks_and_encoders_have_types() -> None:
    word = r"\b(\w*[bB]locks?|\w*[eE]ncoders?|patch_embed)\b"
    assert not house.lines_with(rf"{word}\s*: (list\[|Sequence\[)?Any\b", *house.PRODUCT)
    assert not house.lines_with(rf"def {word}\(.*-> Any\b", *house.PRODUCT)


def test_a_folders_init_says_in_one_line_what_it_holds() -> None:
    """SAMoraLib's own tells more, and ``volume`` offers its types by its name."""
    inits = [path for path in house.sources(*house.PRODUCT) if path.name == "__init__.py"
             and path.parent.name not in ("SAMoraLib", "volume")]
    assert not [str(path) for path in inits if not re.fullmatch('"""[^\n]+"""\n', path.read_text(encoding="utf-8"))]


def test_tensors_are_compared_on_their_own_scale() -> None:
    """By ``Testing.closeness``; geometry (float64, no sums) may be compared number by number."""
    assert not house.lines_with(r"torch\.testing\.assert_close|assert torch\.allclose", "Testing")
