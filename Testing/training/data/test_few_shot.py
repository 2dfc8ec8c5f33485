from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Testing.refusals import refusal
from Training.data import few_shot
from Training.data.few_shot import choose_count, choose_listed, choose_slices, read_slice_list

SYNAPSE = [f"case{case:02d}" for case in range(18) for _ in range(138 if case == 17 else 122)]  # 2,212 slices


def test_the_papers_ten_per_cent():
    chosen = choose_slices(SYNAPSE, 0.1, seed=0)
    assert len(chosen) == 221
    assert len({SYNAPSE[index] for index in chosen}) == 18
    shares = Counter(SYNAPSE[index] for index in chosen)
    assert max(shares.values()) - min(shares.values()) <= 3


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.floats(0.01, 1), st.integers(0, 1000))
def test_any_fraction_of_any_cases(sizes, fraction, seed):
    cases = [f"c{case}" for case, size in enumerate(sizes) for _ in range(size)]
    chosen = choose_slices(cases, fraction, seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == max(1, round(fraction * len(cases)))
    assert 0 <= chosen[0] <= chosen[-1] < len(cases)
    assert len({cases[index] for index in chosen}) == min(len(chosen), len(sizes))
    assert chosen == choose_slices(cases, fraction, seed)


@pytest.mark.parametrize(("sizes", "fraction", "counts"), [
    ((3, 3, 4), 0.5, [2, 1, 2]),  # 1.5, 1.5 and 2: the first of the largest remainders is rounded up
    ((2, 2, 20), 0.25, [1, 1, 4]),  # 0.5, 0.5 and 5: one each, and what that is too many is taken where most are
    ((1, 2, 9), 0.75, [1, 1, 7]),  # 0.75, 1.5 and 6.75
])
def test_cases_share_by_their_sizes(sizes, fraction, counts):
    cases = [str(case) for case, size in enumerate(sizes) for _ in range(size)]
    drawn = Counter(cases[index] for index in choose_slices(cases, fraction, 0))
    assert [drawn[str(case)] for case in range(len(sizes))] == counts


def test_the_seed_decides():
    assert choose_slices(SYNAPSE, 0.1, 0) != choose_slices(SYNAPSE, 0.1, 1)


@pytest.mark.parametrize(("count", "expected"), [
    (2, [4, 17]), (3, [5, 11, 17]), (6, [0, 1, 7, 11, 13, 17])])
def test_what_a_seed_draws_stays_what_it_was(count, expected):
    """Results are published with their seeds: fewer slices than cases, as many, and more."""
    cases = ["a"] * 9 + ["b"] * 4 + ["c"] * 7
    assert choose_count(cases, count, 11) == expected


def test_slices_of_a_case_need_not_be_neighbours_in_the_list():
    cases = ["a", "b"] * 50
    assert {cases[index] for index in choose_slices(cases, 0.02, 3)} == {"a", "b"}


@pytest.mark.parametrize(("cases", "fraction"), [(["a"], 0.0), (["a"], 1.1), ([], 0.5)])
def test_refuses_an_impossible_share(cases, fraction):
    with pytest.raises(ValueError, match="above 0, up to 1"):
        choose_slices(cases, fraction, 0)


def test_draws_among_listed_slices_alone():
    cases, listed = ["a"] * 10 + ["b"] * 10, [1, 3, 5, 12, 14, 16]
    assert choose_listed(cases, listed, 1.0, 0) == listed
    half = choose_listed(cases, listed, 0.5, 0)
    assert len(half) == 3 and set(half) < set(listed)
    assert choose_listed(cases, range(20), 0.3, 7) == choose_slices(cases, 0.3, 7)


def test_a_list_that_is_too_long_is_refused_whole(tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("case0005_slice067\ncase0005_slice068\n", encoding="utf-8")
    monkeypatch.setattr(few_shot, "LIST_BYTES", 34)
    with pytest.raises(ValueError, match="longer than 34 bytes"):
        read_slice_list(tmp_path / "list.txt")
    monkeypatch.setattr(few_shot, "LIST_BYTES", 36)
    assert read_slice_list(tmp_path / "list.txt") == {"case0005": (67, 68)}


def test_reads_the_names_of_a_list(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("case0005_slice067\ncase0005_slice002.npz\n06SR5_slice011\n", encoding="utf-8")
    assert read_slice_list(path) == {"case0005": (2, 67), "06SR5": (11,)}
    with pytest.raises(FileNotFoundError, match="no list of slices"):
        read_slice_list(tmp_path / "none.txt")


@pytest.mark.parametrize("content", [b"case0005", b"case0005_slice" + b"9" * 5000, b"\xff\x00\x1b[31m_slice",
                                     b"a\x1b_slice"])
def test_other_lines_are_shown_and_refused(tmp_path, content):
    (tmp_path / "train.txt").write_bytes(content)
    said = refusal(lambda: read_slice_list(tmp_path / "train.txt"))
    assert "train.txt' has the line '" in said and "\x1b" not in said and len(said) < 300


@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_empty_list_is_refused(tmp_path, content):
    (tmp_path / "train.txt").write_bytes(content)
    assert "train.txt' is empty" in refusal(lambda: read_slice_list(tmp_path / "train.txt"))
