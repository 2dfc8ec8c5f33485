"""Downloads against a real server on this machine: resumed, checked, and never a wrong or half file in place."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from SAMoraSlicer import download as program
from SAMoraSlicer.download import download
from Testing.slicer.full_disk import full_disk
from Testing.slicer.model_server import ModelServer, answering, serving

CONTENT = random.Random(0).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "modèles 模型" / "abdomen.safetensors"


def fetch(server: ModelServer, target: Path, **changes: object) -> Path:
    arguments = {"urls": [server.url], "target": target, "size": len(CONTENT), "sha256": SHA256} | changes
    return download(**arguments)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(program, "time", SimpleNamespace(sleep=seconds.append, monotonic=time.monotonic))
    return seconds


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_whole_and_progress_reaches_its_size(server: ModelServer, target: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(server, target, progress=lambda there, total: seen.append((there, total)))
    assert target.read_bytes() == CONTENT and left(target) == [target.name]
    assert seen == sorted(seen) and seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 3


def test_an_interrupted_download_goes_on_where_it_stopped(server: ModelServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(CONTENT[:300_000])
    fetch(server, target)
    assert server.ranges == ["bytes=300000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(server: ModelServer, target: Path) -> None:
    server.knows_ranges = False
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(CONTENT[:300_000])
    assert fetch(server, target).read_bytes() == CONTENT


def test_a_cut_connection_is_taken_up_again(server: ModelServer, target: Path) -> None:
    server.cut_after = 400_000
    assert fetch(server, target).read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=400000-", "bytes=800000-"]


def test_what_has_come_is_kept_when_the_connection_stays_cut(server: ModelServer, target: Path) -> None:
    server.cut_after = 0
    target.parent.mkdir()
    part = target.with_name(target.name + ".part")
    part.write_bytes(CONTENT[:300_000])
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1 cannot be read \(the connection was cut\)"):
        fetch(server, target)
    assert part.read_bytes() == CONTENT[:300_000] and len(server.ranges) == program.ATTEMPTS


def test_nobody_answers(target: Path) -> None:
    with pytest.raises(ConnectionError, match="check the network or the proxy"):
        download(["http://127.0.0.1:9/model"], target, len(CONTENT), SHA256)
    assert left(target) == []


def test_a_refusal_names_its_code(server: ModelServer, target: Path) -> None:
    server.status = 403
    with pytest.raises(ConnectionError, match=r"refused the model \(403 Forbidden\)"):
        fetch(server, target)


def test_the_next_address_serves_where_the_first_fails(server: ModelServer, target: Path) -> None:
    assert fetch(server, target, urls=["http://127.0.0.1:9/gone", server.url]).read_bytes() == CONTENT


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"size": len(CONTENT) - 1}, {"size": len(CONTENT) + 1}])
def test_another_file_is_thrown_away(server: ModelServer, target: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="install the model from a file"):
        fetch(server, target, **changes)
    assert left(target) == []


def test_a_mirror_with_the_right_file_makes_up_for_a_wrong_one(server: ModelServer, target: Path) -> None:
    with serving(b"\0" * len(CONTENT)) as wrong:
        assert fetch(server, target, urls=[wrong.url, server.url]).read_bytes() == CONTENT


def test_a_part_of_another_version_does_not_spoil_the_file(server: ModelServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(b"\0" * (len(CONTENT) + 5))
    assert fetch(server, target).read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "C:/model"])
def test_only_web_addresses_are_opened(url: str, target: Path) -> None:
    with pytest.raises(ConnectionError, match="is not a web address"):
        download([url], target, len(CONTENT), SHA256)


def test_a_full_disk_is_refused_before_the_first_byte(server: ModelServer, target: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 500_000))
    with pytest.raises(OSError, match=r"has 0\.5 MB left and the model needs 1\.0 MB"):
        fetch(server, target)
    assert server.ranges == [] and left(target) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_disk_that_fills_up_on_the_way_gives_one_sentence_and_keeps_what_has_come(server: ModelServer,
                                                                                    target: Path) -> None:
    full = rf"\({os.strerror(errno.EFBIG)}\); check that the disk has room"
    with full_disk(300_000), pytest.raises(OSError, match=full):
        fetch(server, target)
    assert left(target) == [f"{target.name}.part"] and program.part_bytes(part_of(target)) == 300_000
    assert fetch(server, target).read_bytes() == CONTENT and server.ranges == ["", "bytes=300000-"]


def test_a_folder_that_cannot_be_made_gives_one_sentence(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="choose another models folder"):
        fetch(server, tmp_path / "file" / "models" / "m.safetensors")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_gives_one_sentence(server: ModelServer, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="that the folder may be written to"):
        fetch(server, tmp_path / "m.safetensors")


def command(server: ModelServer, target: Path) -> list[str]:
    return [sys.executable, program.__file__, "--to", str(target), "--size", str(len(CONTENT)), "--sha256", SHA256,
            server.url]


def run(server: ModelServer, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(server, target), capture_output=True, text=True, timeout=60, check=False)


def test_the_program_tells_its_progress_in_json_lines(server: ModelServer, target: Path) -> None:
    done = run(server, target)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert events[-1] == {"event": "result", "output": str(target)} and events[-2]["fraction"] == 1.0
    server.status = 404
    refused = run(server, target.with_name("b"))
    assert refused.returncode == 1 and refused.stderr == ""
    assert "404" in json.loads(refused.stdout.splitlines()[-1])["message"]


def test_a_killed_program_leaves_what_the_next_one_goes_on_from(server: ModelServer, target: Path) -> None:
    server.pause = 0.02
    process = subprocess.Popen(command(server, target), stdout=subprocess.PIPE, text=True)
    part = target.with_name(target.name + ".part")
    end = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert 0 < part.stat().st_size < len(CONTENT) and not target.exists()
    server.pause = 0.0
    fetch(server, target)
    assert server.ranges[1].startswith("bytes=") and target.read_bytes() == CONTENT


def test_a_file_that_has_come_whole_is_not_fetched_again(server: ModelServer, target: Path) -> None:
    """As after a program that was ended before it put the file in place."""
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(CONTENT)
    assert fetch(server, target).read_bytes() == CONTENT and server.ranges == []


@pytest.mark.parametrize(("there", "free", "enough"), [
    (0, len(CONTENT), True), (0, len(CONTENT) - 1, False), (600_000, 400_000, True), (600_000, 399_999, False)])
def test_there_must_be_room_for_what_is_still_to_come(server: ModelServer, target: Path, there: int, free: int,
                                                      enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free, 0, free))
    target.parent.mkdir()
    if there:
        target.with_name(target.name + ".part").write_bytes(CONTENT[:there])
    if enough:
        assert fetch(server, target).read_bytes() == CONTENT
    else:
        with pytest.raises(OSError, match="free some space or choose another models folder"):
            fetch(server, target)


def cut_in_turn(server: ModelServer, *lengths: int | None) -> None:
    """One connection after the other ends after so many bytes; those after the last are whole."""
    plan, handle = list(lengths), server.process_request

    def process_request(request: object, address: object) -> None:
        server.cut_after = plan.pop(0) if plan else None
        handle(request, address)

    server.process_request = process_request


def test_attempts_in_vain_count_only_in_a_row(server: ModelServer, target: Path) -> None:
    cut_in_turn(server, 0, 100_000, 0, 0, 100_000, 0, 0)
    assert program.ATTEMPTS == 3 and fetch(server, target).read_bytes() == CONTENT
    assert len(server.ranges) == 8


def test_so_many_attempts_in_vain_are_the_last(server: ModelServer, target: Path) -> None:
    cut_in_turn(server, 100_000, *[0] * program.ATTEMPTS)
    with pytest.raises(ConnectionError, match="the connection was cut"):
        fetch(server, target)
    assert server.ranges == ["", *["bytes=100000-"] * program.ATTEMPTS]


def test_a_longer_file_that_begins_as_the_model_is_another_file(server: ModelServer, target: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "BLOCK", 1000)
    size = 5 * program.BLOCK
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 sent another file than the model"):
        fetch(server, target, size=size, sha256=hashlib.sha256(CONTENT[:size]).hexdigest())


def test_the_program_speaks_once_a_percent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fetch_slowly(urls: object, target: Path, size: int, sha256: str, progress: program.Progress) -> Path:
        for there in range(size + 1):
            progress(there, size)
        return target

    monkeypatch.setattr(program, "run_as_child", lambda action: action())
    monkeypatch.setattr(program, "download", fetch_slowly)
    assert program.main(["http://127.0.0.1:9/a", "--to", "a", "--size", "1000", "--sha256", "0"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["fraction"] for event in events[:-1]] == [percent / 100 for percent in range(101)]
    assert events[-1] == {"event": "result", "output": "a"}


@pytest.mark.parametrize(("text", "expected"), [
    ("https://example.org/a", True), ("http://127.0.0.1:80/a?b=%20#c", True), ("https://[::1]/a", True),
    ("HTTPS://example.org/a", False), ("https://", False), ("https:///a", False), ("https://example.org/ a", False),
    ("https://example.org/a\r\nX: y", False), ("https://example.org/\0", False), ("https://ex\xe4mple.org/", False),
    ("https://me:word@example.org/", False), ("https://me@example.org/", False), ("https://[::1/a", False),
    ("https://example.org:port/a", False), ("https://example.org:99999/a", False), ("https://example.org:0/", False),
    ("--to=/home/user/notes", False), ("-", False), ("", False), ("ftp://example.org/a", False), ("//a", False),
    ("javascript:alert(1)", False), ("https://" + "a" * 2000, False), (None, False), (5, False), (["http://a"], False)])
def test_what_a_web_address_is(text: object, expected: bool) -> None:
    assert program.is_web_address(text) is expected


def test_one_retry_after_the_other_waits_longer(server: ModelServer, target: Path, waited: list[float]) -> None:
    server.cut_after = 0
    with pytest.raises(ConnectionError):
        fetch(server, target)
    assert waited == [program.WAIT * 2**number for number in range(program.ATTEMPTS - 1)] and left(target) == []


def test_a_stuttering_server_is_given_up(server: ModelServer, target: Path) -> None:
    """A connection that brings less than a hundredth of the file is as good as none."""
    server.cut_after = 100
    with pytest.raises(ConnectionError, match="the connection was cut"):
        fetch(server, target)
    assert len(server.ranges) == program.ATTEMPTS and program.part_bytes(part_of(target)) == 100 * program.ATTEMPTS


@pytest.mark.parametrize("there", [0, 300_000])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server: ModelServer, target: Path, there: int,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """What had come before is not its merit."""
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:there])
    now = itertools.count(0.0, 10.0)
    monkeypatch.setattr(program.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(program, "BLOCK", 100)
    with pytest.raises(ConnectionError, match="it sends too slowly"):
        fetch(server, target)
    assert program.part_bytes(part_of(target)) == there + program.ATTEMPTS * 700, "of seven looks"


def test_a_server_that_starts_again_every_time_is_given_up(server: ModelServer, target: Path) -> None:
    """What it sends a second time is nothing new."""
    server.knows_ranges = False
    cut_in_turn(server, *[400_000, 100_000] * 50)
    with pytest.raises(ConnectionError, match="the connection was cut"):
        fetch(server, target)
    assert len(server.ranges) == 1 + program.ATTEMPTS


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
@pytest.mark.parametrize("lay", [Path.symlink_to, Path.hardlink_to])
def test_nothing_is_written_through_a_link_that_somebody_laid(server: ModelServer, target: Path, tmp_path: Path,
                                                              lay: Callable[[Path, Path], None]) -> None:
    for place in (target, part_of(target)):
        diary = tmp_path / f"diary-{place.suffix}"
        diary.write_bytes(CONTENT[:1000])
        place.parent.mkdir(exist_ok=True)
        lay(place, diary)
    assert fetch(server, target).read_bytes() == CONTENT and server.ranges == [""], "no going on with it, either"
    assert not target.is_symlink() and left(target) == [target.name]
    assert {path.read_bytes() for path in tmp_path.glob("diary-*")} == {CONTENT[:1000]}


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_pipe_in_the_parts_place_is_not_waited_for(server: ModelServer, target: Path) -> None:
    target.parent.mkdir()
    os.mkfifo(part_of(target))
    assert program.part_bytes(part_of(target)) == 0
    assert fetch(server, target).read_bytes() == CONTENT


@pytest.mark.skipif(os.name == "nt", reason="POSIX users")
def test_a_part_of_another_user_is_not_gone_on_with(server: ModelServer, target: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:300_000])
    assert program.part_bytes(part_of(target)) == 300_000
    monkeypatch.setattr(os, "geteuid", lambda: part_of(target.parent).parent.stat().st_uid + 1)
    assert program.part_bytes(part_of(target)) == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX users")
def test_a_folder_whose_files_show_another_owner_serves(server: ModelServer, target: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """A network folder may show every file as another user's, also those just made."""
    monkeypatch.setattr(os, "geteuid", lambda: Path(__file__).stat().st_uid + 12345)
    server.cut_after = 400_000
    with serving(b"\0" * len(CONTENT)) as wrong:
        assert fetch(server, target, urls=[wrong.url, server.url]).read_bytes() == CONTENT
    target.unlink()
    server.cut_after = 0
    part_of(target).write_bytes(CONTENT[:1000])
    with pytest.raises(ConnectionError, match="the connection was cut"):
        fetch(server, target)
    assert left(target) == [], "nothing came"
    cut_in_turn(server, 300_000, *[0] * 10)
    with pytest.raises(ConnectionError, match="the connection was cut"):
        fetch(server, target)
    assert part_of(target).stat().st_size == 300_000, "and what has come stays"


def test_a_part_that_is_exchanged_while_it_is_checked_is_not_put_in_place(server: ModelServer, target: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    check = program._check

    def exchange(*arguments: object) -> None:
        check(*arguments)  # type: ignore[arg-type]
        part_of(target).rename(target.with_name("moved"))
        part_of(target).write_bytes(b"other")

    monkeypatch.setattr(program, "_check", exchange)
    with pytest.raises(OSError, match="another program has exchanged the unfinished file"):
        fetch(server, target)
    assert not target.exists()


def test_a_folder_in_the_parts_place_is_one_sentence(server: ModelServer, target: Path) -> None:
    part_of(target).mkdir(parents=True)
    with pytest.raises(OSError, match="choose another models folder"):
        fetch(server, target)


def redirect(place: str, code: int = 302) -> bytes:
    return f"HTTP/1.1 {code} Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")


@pytest.mark.parametrize("code", program.REDIRECTED)
def test_a_redirection_is_followed(server: ModelServer, target: Path, code: int) -> None:
    with answering(redirect("/elsewhere", code), redirect(server.url, code)) as first:
        assert fetch(server, target, urls=[first.url]).read_bytes() == CONTENT
        assert [asked.split()[1] for asked in first.asked] == ["/model", "/elsewhere"]


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a", "https://me:word@127.0.0.1/a",
                                   "http://127.0.0.1:port/", "data:,a", "https://[::1", "//[::1"])
def test_no_redirection_leads_to_what_is_no_web_address(server: ModelServer, target: Path, place: str) -> None:
    with answering(redirect(place)) as first, pytest.raises(ConnectionError, match=r"^127\.0\.0\.1 .* from a file\.$"):
        fetch(server, target, urls=[first.url])
    assert len(first.asked) == 1 and left(target) == []


@pytest.mark.parametrize("place", ["http://b.example/m", "ftp://b.example/m", "file:///m"])
def test_https_is_never_left(target: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    asked = []

    def ask(url: str, there: int) -> str:
        asked.append(url)
        return {"https://a.example/m": "https://c.example/m", "https://c.example/m": place}[url]

    monkeypatch.setattr(program, "_ask", ask)
    with pytest.raises(ConnectionError, match="which is no address as safe as its own"):
        download(["https://a.example/m"], target, len(CONTENT), SHA256)
    assert asked == ["https://a.example/m", "https://c.example/m"]


def test_redirections_in_a_circle_end(server: ModelServer, target: Path) -> None:
    with answering(redirect("/a")) as first, pytest.raises(ConnectionError, match="leads from one address to the next"):
        fetch(server, target, urls=[first.url])
    assert len(first.asked) == program.REDIRECTIONS + 1


def endless(start: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield bytes(1 << 16)


@pytest.mark.parametrize("status", [b"302 Found\r\nLocation: /a", b"403 No", b"416 No", b"500 No"])
def test_the_body_of_a_refusal_is_not_read(server: ModelServer, target: Path, status: bytes) -> None:
    """It may have no end."""
    with answering(endless(b"HTTP/1.1 " + status + b"\r\n\r\n")) as first, pytest.raises((ConnectionError, ValueError)):
        fetch(server, target, urls=[first.url])


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_a_stream_without_an_end_is_left_after_the_files_size(server: ModelServer, target: Path, head: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + (b"fffffffff\r\n" if head else b"")
    with answering(endless(start)) as first, pytest.raises(ValueError, match="sent another file than the model"):
        fetch(server, target, urls=[first.url])
    assert left(target) == []


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1, 1 << 62, 0])
def test_another_length_is_refused_before_the_first_byte(server: ModelServer, target: Path, length: int) -> None:
    answer = endless(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
    with answering(answer) as first, pytest.raises(ValueError, match=f"{length} bytes instead of {len(CONTENT)}"):
        fetch(server, target, urls=[first.url])
    assert len(first.asked) == 1 and left(target) == []


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nx", b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nx",
    b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/10\r\n\r\nx", b"HTTP/1.1 206 Partial\r\n\r\nx",
    b"HTTP/1.1 204 Empty\r\n\r\n", b"HTTP/1.1 203 Other\r\n\r\nx"])
def test_what_is_no_piece_of_the_file_is_not_taken_for_one(server: ModelServer, target: Path, answer: bytes) -> None:
    with answering(answer) as first, pytest.raises(ConnectionError, match="did not send the model's bytes"):
        fetch(server, target, urls=[first.url])
    assert left(target) == []


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 403 \x1b[2J\x9b31m" + b"a" * 5000 + b"\r\n\r\n", b"\x1b]0;title\x07\x1b[2J\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: \x1b[2J\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: \x1b://x\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"a" * 100_000, b""])
def test_what_a_server_says_is_told_on_a_short_line(server: ModelServer, target: Path, answer: bytes) -> None:
    with answering(answer) as first, pytest.raises(ConnectionError) as refused:
        fetch(server, target, urls=[first.url])
    assert str(refused.value).isprintable() and len(str(refused.value)) < 400 and str(refused.value).endswith(".")


def test_no_header_can_be_put_into_a_request(target: Path) -> None:
    with answering(b"") as first:
        for url in (f"{first.url}\r\nX: y", f"{first.url}\nX: y", f"{first.url} HTTP/1.1\tX"):
            with pytest.raises(ConnectionError, match="is not a web address"):
                download([url], target, len(CONTENT), SHA256)
        assert first.asked == []


def test_the_proxies_that_are_set_are_asked(server: ModelServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    assert fetch(server, target, urls=["http://models.example/a"]).read_bytes() == CONTENT
