"""What becomes of printed lines decides nothing: other letters, readers that leave, full disks, closed streams."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from tqdm import tqdm

from SAMoraLib.system.streams import UnfailingStream, is_shown, lost_output, one_line, shortened, unfailing_streams
from Testing.folders import ROOT

FULL = Path("/dev/full")
LOST = ("Standard output could not be written (No space left on device), which result files do not depend on; make "
        "room, or send it elsewhere.")
PROGRAM = """
import sys
from pathlib import Path
from SAMoraLib.system.streams import lost_output, unfailing_streams
with unfailing_streams():
    done = open(sys.argv[1], "w", encoding="utf-8")
    for number in range(2000):
        print(f"line {number} of \\u60a3\\u8005 \\udcff", flush=number % 2 == 0)
        print(f"warning {number} of \\u60a3", file=sys.stderr)
    print(lost_output(), end="", file=done)
    done.close()
sys.exit(3)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path / "program.py"


def run(program: Path, redirection: str, **environment: str) -> tuple[int, str, str, str]:
    """Exit code, standard output, standard error, and what the program wrote into its file."""
    done = program.with_name("done")
    line = f'"{sys.executable}" "{program}" "{done}" {redirection}'
    found = subprocess.run(["bash", "-c", f"{line}; echo ${{PIPESTATUS[0]}}"], cwd=ROOT, capture_output=True,
                           env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, timeout=60, check=False)
    *lines, code = found.stdout.decode(errors="replace").splitlines()
    return int(code), "\n".join(lines), found.stderr.decode(), done.read_text(encoding="utf-8")


@pytest.mark.parametrize(("redirection", "lost"), [
    ("", "None"), ("| head -1", "None"), (">&-", "None"), ("2>&-", "None"), (">&- 2>&- <&-", "None"),
    ("2> /dev/full", "None"), ("> /dev/full", LOST), ("> /dev/full 2> /dev/full", LOST)])
def test_the_work_goes_on_and_the_exit_code_is_its_own(program: Path, redirection: str, lost: str) -> None:
    if "full" in redirection and not FULL.exists():
        pytest.skip("this system has no /dev/full")
    code, _, error, done = run(program, redirection)
    assert (code, done) == (3, lost)
    assert "Traceback" not in error and "Exception ignored" not in error


def test_a_closed_streams_number_goes_to_no_file(program: Path) -> None:
    """A library's own warnings would be written into the first file that is opened."""
    program.write_text(PROGRAM.replace("done.close()", "os.write(1, b'warning'); os.write(2, b'warning'); done.close()"
                                       ).replace("import sys", "import os, sys"), encoding="utf-8")
    assert run(program, ">&- 2>&-")[3] == "None"


@pytest.mark.parametrize(("encoding", "name"), [("ascii", r"\u60a3\u8005 \udcff"), ("cp1252", r"\u60a3\u8005 \udcff"),
                                                ("utf-8", "\u60a3\u8005 \\udcff")])
def test_letters_that_the_code_page_lacks_are_spelt_out(program: Path, encoding: str, name: str) -> None:
    code, text, _, _ = run(program, "", PYTHONIOENCODING=encoding)
    assert code == 3 and text.splitlines()[0] == f"line 0 of {name}" and len(text.splitlines()) == 2000


class Failing(io.StringIO):
    """A stream that takes two lines."""

    encoding = "ascii"
    error: Exception = OSError(errno.ENOSPC, "No space left on device")

    def write(self, text: str) -> int:
        if self.getvalue().count("\n") == 2:
            raise self.error
        return super().write(text)


def replaced(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Standard output; not by a fixture, because pytest sets its own again afterwards."""
    stream = Failing()
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


@pytest.mark.parametrize(("error", "why"), [
    (OSError(errno.ENOSPC, "No space left on device"), LOST),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), None), (ValueError("I/O operation on closed file."), None)])
def test_what_is_lost_is_known_unless_nobody_wants_it(monkeypatch: pytest.MonkeyPatch, error: Exception,
                                                          why: str | None) -> None:
    stdout = replaced(monkeypatch)
    stdout.error = error
    with unfailing_streams():
        print("one\ntwo é")
        assert lost_output() is None
        print("three")
        print("four")
        assert lost_output() == why
    assert stdout.getvalue() == "one\ntwo \\xe9\n" and sys.stdout is stdout


@pytest.mark.parametrize(("error", "ends"), [(OSError(errno.ENOSPC, "No space left on device"), True),
                                             (BrokenPipeError(errno.EPIPE, "Broken pipe"), False)])
def test_a_program_that_does_nothing_but_print_says_that_it_failed(monkeypatch: pytest.MonkeyPatch, error: Exception,
                                                                   ends: bool) -> None:
    @unfailing_streams(printing_is_all=True)
    def program() -> int:
        print("one\ntwo")
        print("three")
        return 5

    replaced(monkeypatch).error = error
    if ends:
        with pytest.raises(SystemExit) as end:
            program()
        assert end.value.code == LOST
    else:
        assert program() == 5


def test_inside_each_other_they_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = replaced(monkeypatch)
    with unfailing_streams():
        outer = sys.stdout
        with unfailing_streams():
            assert sys.stdout is outer
        assert sys.stdout is outer
    assert sys.stdout is stdout


def test_a_stream_is_asked_for_everything_else() -> None:
    stream = UnfailingStream(Failing())
    assert stream.encoding == "ascii" and not stream.isatty() and stream.write("é") == 1


@pytest.mark.parametrize(("text", "line"), [
    ("'患者 é.nrrd' is damaged.", "'患者 é.nrrd' is damaged."), ("a\nb\r\tc", r"a\nb\r\tc"),
    ("\x1b[31mred", r"\x1b[31mred"), ("\udcff", r"\udcff"), ("a\u2028b", r"a\u2028b")])
def test_a_name_stays_on_its_line(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(("text", "shown"), [
    ("\x1b]0;title\x07 \x9b31m", r"\x1b]0;title\x07 \x9b31m"), ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
    ("a\rb", r"a\rb"), ("one\ntwo\tthree\n", "one\ntwo\tthree\n"), ("\rbar 3%", "\rbar 3%"), ("\r\r", "\r\\r"),
    ("\x00\x08\x7f\u2066\u2069", r"\x00\x08\x7f\u2066\u2069"), ("", ""), ("患者 é", "患者 é")])
def test_what_is_printed_steers_no_terminal(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with unfailing_streams():
        print(text, end="", file=sys.stderr)
    assert written.getvalue() == shown


def test_json_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    message = {"message": "\x1b[2J\u202e患者\udcff\n"}
    with unfailing_streams():
        print(json.dumps(message))
        print(json.dumps(message, indent=2))
    first, rest = written.getvalue().split("\n", 1)
    assert json.loads(first) == json.loads(rest) == message


def test_progress_bars_are_drawn_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, within = io.StringIO(), io.StringIO()
    for stream in (plain, within):
        monkeypatch.setattr(sys, "stderr", stream)
        with unfailing_streams() if stream is within else nullcontext():
            bar = tqdm(total=2, bar_format="{n_fmt}/{total_fmt}", mininterval=0, leave=False, file=sys.stderr)
            bar.update(1)
            bar.update(1)
            bar.close()
    assert within.getvalue() == plain.getvalue() != ""


def test_a_long_text_keeps_its_ends() -> None:
    assert shortened("short\ntext") == r"short\ntext"
    assert shortened("a" * 5 + "b" * 5, 10) == "aaaaabbbbb"
    assert shortened("a" * 6 + "b" * 5, 10) == shortened("a" * 300 + "b" * 300, 10) == "aaaaa ... bbbbb"
    assert shortened("a" * 400) == "a" * 400 and shortened("a" * 401) == f"{'a' * 200} ... {'a' * 200}"
    assert len(shortened("\x1b" * 5000)) < 420


@pytest.mark.parametrize(("text", "expected"), [
    ("", True), ("Müller\u3000太郎", True), ("a\u00a0b\u202fc d", True), ("a\nb", False), ("a\x1bb", False),
    ("a\u202eb", False), ("a\u2028b", False), ("\udc80", False), ("\ue000", False), ("\uffff", False)])
def test_blanks_of_every_width_are_shown_and_what_steers_is_not(text: str, expected: bool) -> None:
    assert is_shown(text) is expected
