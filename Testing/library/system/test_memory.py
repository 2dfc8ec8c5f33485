"""The machine, and the containers and jobs around a process, as Linux describes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.system.memory import address_space_left, available_bytes, resident_bytes
from Testing.folders import ROOT

MIB = 1 << 20
GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def machine(root: Path, group: str, **files: str) -> Path:
    """64 GiB free, and this process in ``group``."""
    return write(root, {"proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {64 * MIB} kB\n", "proc/self/cgroup": group,
                        **files})


def test_without_control_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None and resident_bytes(tmp_path) == 0
    assert available_bytes(machine(tmp_path, "")) == 64 * GIB


@pytest.mark.parametrize(("group", "folder"), [
    ("0::/", ""),  # a container with a view of its own
    ("0::/system.slice/docker-abc.scope", ""),  # one that is told the host's path, which it does not see
    ("0::/slurm/job_7/step_0", "slurm/job_7/"),  # the job is limited, not its step
])
def test_a_container_or_job_has_less(tmp_path: Path, group: str, folder: str) -> None:
    place = f"sys/fs/cgroup/{folder}"
    root = machine(tmp_path, group + "\n", **{
        f"{place}memory.max": f"{8 * GIB}\n", f"{place}memory.current": f"{7 * GIB}\n",
        f"{place}memory.stat": f"anon 1\ninactive_file {2 * GIB}\nactive_file {3 * GIB}\n"})
    assert available_bytes(root) == 3 * GIB


def test_the_older_version(tmp_path: Path) -> None:
    place = "sys/fs/cgroup/memory/docker/abc/"
    files = {f"{place}memory.limit_in_bytes": f"{4 * GIB}\n", f"{place}memory.usage_in_bytes": f"{GIB}\n",
             f"{place}memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}\n",
             "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
             "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n"}
    root = machine(tmp_path, "5:devices:/docker/abc\n4:cpu,memory:/docker/abc\n0::/\n", **files)
    assert available_bytes(root) == 4 * GIB


def test_a_group_without_a_limit_or_beyond_it(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": f"{GIB}\n"}
    assert available_bytes(machine(tmp_path, "0::/\n", **files)) == 64 * GIB
    files["sys/fs/cgroup/memory.max"] = f"{3 * GIB}\n"
    assert available_bytes(machine(tmp_path, "0::/\n", **files)) == 2 * GIB  # and nothing is said of what is cached
    files["sys/fs/cgroup/memory.max"] = "5\n"
    assert available_bytes(machine(tmp_path, "0::/\n", **files)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's files")
def test_this_machine() -> None:
    before = resident_bytes()
    block = np.ones(200 * MIB, np.uint8)
    assert 100 * MIB < resident_bytes() - before < 300 * MIB
    assert 0 < (available_bytes() or 0) < 1 << 50
    assert block[0]


@pytest.mark.parametrize(("limit", "left"), [("unlimited", None), (str(3 * GIB), 2 * GIB), (str(GIB // 2), 0)])
def test_an_address_space_may_be_limited(tmp_path: Path, limit: str, left: int | None) -> None:
    root = machine(tmp_path, "", **{
        "proc/self/limits": f"Max cpu time  unlimited  unlimited  s\nMax address space  {limit}  unlimited  bytes\n",
        "proc/self/status": f"VmSize:\t{MIB} kB\n"})
    assert address_space_left(root) == left
    assert available_bytes(root) == (64 * GIB if left is None else left)


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux says it")
def test_this_processs_own_limit_is_seen() -> None:
    program = ("import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
               "from SAMoraLib.system.memory import address_space_left; print(address_space_left())")
    left = int(subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout)
    assert GIB // 2 < left < GIB
