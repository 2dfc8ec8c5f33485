"""Which control groups are around a process, as Linux describes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from SAMoraLib.system.control_groups import control_groups, lines_of, number_in


def found(root: Path, controller: str, text: str) -> list[tuple[int, str]]:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(text, encoding="utf-8")
    return [(version, str(folder.relative_to(root / "sys/fs/cgroup"))) for version, folder
            in control_groups(controller, root)]


def test_of_version_2_all_levels_from_the_innermost(tmp_path: Path) -> None:
    assert found(tmp_path, "cpu", "0::/slurm/job_7\n") == [(2, "slurm/job_7"), (2, "slurm"), (2, ".")]


def test_of_version_1_those_of_the_controller(tmp_path: Path) -> None:
    text = "5:memory:/docker/a\n4:cpu,cpuacct:/docker/b\n3:cpuset:/\n1:name=systemd:/\n"
    assert found(tmp_path, "cpu", text) == [(1, "cpu/docker/b"), (1, "cpu/docker"), (1, "cpu")]


@pytest.mark.parametrize(("line", "group"), [("0::/a:b/c", (2, "a:b/c")), ("4:cpu:/a:b", (1, "cpu/a:b"))])
def test_a_group_may_have_a_colon_in_its_name(tmp_path: Path, line: str, group: tuple[int, str]) -> None:
    assert found(tmp_path, "cpu", f"{line}\n")[0] == group


def test_elsewhere_there_are_none(tmp_path: Path) -> None:
    assert list(control_groups("cpu", tmp_path)) == [] and lines_of(tmp_path) == []


@pytest.mark.parametrize(("text", "number"), [("123\n", 123), ("max\n", None), ("-1\n", None), ("", None)])
def test_a_limit_is_a_number(tmp_path: Path, text: str, number: int | None) -> None:
    (tmp_path / "limit").write_text(text, encoding="utf-8")
    assert number_in(tmp_path / "limit") == number
