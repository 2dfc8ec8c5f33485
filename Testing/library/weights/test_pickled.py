"""The table of a weights file is followed before it is read: what torch writes passes, what grows without end not."""

from __future__ import annotations

import struct
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.weights import pickled
from SAMoraLib.weights.pickled import MAX_BYTES, SMALL, Refused, require_plain
from SAMoraLib.weights.tensors import read_plain, read_tensors
from Testing.refusals import refusal

WEIGHT = torch.arange(6.0)


def with_attribute() -> Tensor:
    tensor = torch.ones(2)
    tensor.note = "noted"  # type: ignore[attr-defined]
    return tensor


@pytest.mark.parametrize("content", [
    {"w": WEIGHT}, OrderedDict(w=WEIGHT), nn.Linear(3, 2).state_dict(), {"w": nn.Parameter(WEIGHT)}, WEIGHT, [WEIGHT],
    {"w": WEIGHT.half(), "v": WEIGHT.bfloat16(), "b": WEIGHT.bool(), "u": WEIGHT.to(torch.uint16)},
    {"w": WEIGHT.to(torch.float8_e4m3fn), "c": WEIGHT.to(torch.complex64)}, {"w": WEIGHT, "v": WEIGHT[::2]},
    {"epoch": 3, "loss": 0.1, "name": "ü", "bytes": b"\x00\xff", "none": None, "yes": True, 2**70: 1, ("a", 1): 2},
    {"set": {1, "a"}, "size": WEIGHT.shape, "type": torch.float16, "device": torch.device("cpu"), "complex": 1 + 2j},
    {"milestones": Counter({3: 1}), "long": "a" * 99_999, "many": list(range(9999)), "empty": [(), [], {}, set()]},
    {"w": with_attribute()}, torch.optim.AdamW(nn.Linear(3, 2).parameters()).state_dict(),
    {"none": torch.empty(0), "flat": torch.empty(3, 0, 2), "one": torch.tensor(5)}], ids=range(15))
def test_what_torch_writes_passes(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    found = read_plain(tmp_path / "w.pth")
    assert str(found) == str(torch.load(tmp_path / "w.pth", weights_only=True))


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2,) * 40, (10**18,)])
@pytest.mark.parametrize("wrap", [lambda t: {"w": t}, lambda t: {"n": 1, "optimiser": [{"w": [t]}]},
                                  lambda t: {"w": nn.Parameter(t)}])
def test_a_few_bytes_are_not_stretched_to_a_terabyte(shape: tuple[int, ...], wrap: Any, tmp_path: Path) -> None:
    torch.save(wrap(torch.ones(1).expand(shape)), tmp_path / "w.pth")
    for read in (read_plain, read_tensors):
        assert "its tensors would hold" in refusal(lambda read=read: read(tmp_path / "w.pth"))


def test_many_views_of_one_tensor_are_not_held_as_many(tmp_path: Path) -> None:
    tensor = torch.ones(500_000)
    torch.save({f"w{number}": tensor for number in range(4)}, tmp_path / "few.pth")
    assert len(read_tensors(tmp_path / "few.pth")) == 4
    for views in (lambda: tensor, lambda: tensor.view(500, 1000)):
        torch.save({f"w{number}": views() for number in range(2000)}, tmp_path / "many.pth")
        assert "its tensors would hold 4000000000 bytes" in refusal(lambda: read_tensors(tmp_path / "many.pth"))


def name(text: str) -> bytes:
    return b"c" + text.replace(" ", "\n").encode() + b"\n"


def text(letters: str) -> bytes:
    return b"X" + struct.pack("<I", len(letters)) + letters.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def storage(numbers: int, kind: str = "FloatStorage") -> bytes:
    return b"(" + text("storage") + name(f"torch {kind}") + text("0") + text("cpu") + number(numbers) + b"tQ"


def tensor(size: bytes, strides: bytes = b"J\x00\x00\x00\x00\x85", numbers: int = 6, kind: str = "FloatStorage"
           ) -> bytes:
    rebuild = name("torch._utils _rebuild_tensor_v2") + b"(" + storage(numbers, kind) + number(0) + size + strides
    return rebuild + b"\x89" + name("collections OrderedDict") + b")RtR"


HUGE = tensor(number(2**31 - 1) + b"\x85")
PAIRS = b"(" + number(1) + number(1) + b"\x86" + b"q\x01h\x01\x86" * 60  # a pair of pairs of pairs ...
TABLES = {
    "a set of a stretched tensor": name("builtins set") + HUGE + b"\x85R",
    "a size of a stretched tensor": name("torch Size") + HUGE + b"\x85R",
    "a table of a stretched tensor": name("collections OrderedDict") + HUGE + b"\x85R",
    "a count of a stretched tensor": name("collections Counter") + HUGE + b"\x85R",
    "a copy of a stretched tensor": name("torch._utils _rebuild_device_tensor_from_cpu_tensor") + b"(" + HUGE
    + name("torch float64") + text("cpu") + b"\x89tR",
    "two thousand million bytes": name("builtins bytearray") + number(2**31 - 1) + b"\x85R",
    "a new tensor of that many": name("torch FloatTensor") + number(2**31 - 1) + b"\x85R",
    "another new tensor": name("torch Tensor") + number(2**31 - 1) + b"\x85\x81",
    "new storage": name("torch.storage UntypedStorage") + number(2**31 - 1) + b"\x85R",
    "letters twice as many": name("_codecs encode") + text("ab") + text("hex") + b"\x86R",
    "a name of pairs of pairs": b"}" + PAIRS + number(1) + b"s",
    "a set of pairs of pairs": name("builtins set") + b"](" + PAIRS[1:] + b"e\x85R",
    "a tensor changed afterwards": tensor(number(6) + b"\x85") + b"(" + storage(6) + number(0) + number(2**31 - 1)
    + b"\x85" + number(0) + b"\x85tb",
    "a size below zero": tensor(number(-1) + b"\x85"),
    "a size that is a text": tensor(text("6") + b"\x85"),
    "numbers of no storage": name("torch._utils _rebuild_tensor_v2") + b"(" + number(1) * 6 + b"tR",
    "a place that is none": text("storage") + b"Q",
    "code": name("os system") + text("true") + b"\x85R",
    "code of torch's": name("torch.hub load") + text("a") + b"\x85R",
    "an instruction of a newer pickle": b"\x8c\x01a",
    "the end": b"", "a mark that is missing": b"t", "nothing to take": b"R", "nothing kept": b"h\x07",
}


def write(path: Path, table: bytes) -> Path:
    """A file as torch writes it, with another table."""
    torch.save({"w": WEIGHT}, path)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for record, content in records.items():
            archive.writestr(record, table if record.endswith("data.pkl") else content)
    return path


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_takes_memory_or_time_without_end_is_not_made(table: bytes, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "w.pth", b"\x80\x02" + table + b".")
    monkeypatch.setattr(torch, "load", None)
    message = refusal(lambda: read_plain(path))
    assert message.isprintable() and str(path) in message and "is never loaded" in message


def test_a_table_written_by_hand_is_read_as_torchs_own(tmp_path: Path) -> None:
    whole = b"\x80\x02}" + text("w") + tensor(number(6) + b"\x85", number(1) + b"\x85") + b"s."
    assert torch.equal(read_tensors(write(tmp_path / "w.pth", whole))["w"], WEIGHT)
    more = b"\x80\x02}" + text("w") + tensor(number(600) + b"\x85", number(1) + b"\x85", numbers=600) + b"s."
    assert "w.pth'" in refusal(lambda: read_tensors(write(tmp_path / "w.pth", more)))


def test_a_table_is_bounded() -> None:
    with pytest.raises(Refused, match="longer than"):
        require_plain(b"\x80\x02" + b"]" * MAX_BYTES, 10**9)
    with pytest.raises(Refused, match="damaged"):
        require_plain(b"\x80\x02]" * 9 + b"\xff", 10**9)


def table(*steps: bytes) -> bytes:
    """A whole pickle of these steps."""
    return b"\x80\x02" + b"".join(steps) + b"."


def test_a_table_may_be_as_long_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MAX_BYTES", 20)
    require_plain(table(text("a" * 12)), 100)
    with pytest.raises(Refused, match="its table is longer than 20 bytes"):
        require_plain(table(text("a" * 13)), 100)


# Numbers of a tensor that may be made of a file of five bytes: four times its size, and a mebibyte.
@pytest.mark.parametrize(("kind", "most"), [
    ("FloatStorage", (SMALL + 20) // 4), ("DoubleStorage", (SMALL + 20) // 8), ("HalfStorage", (SMALL + 20) // 2),
    ("ByteStorage", SMALL + 20), ("Float8_e4m3fnStorage", SMALL + 20), ("ComplexDoubleStorage", (SMALL + 20) // 16)])
def test_tensors_may_hold_four_times_the_file_and_a_mebibyte(kind: str, most: int) -> None:
    require_plain(table(tensor(number(most) + b"\x85", kind=kind)), 5)
    more = table(tensor(number(most + 1) + b"\x85", kind=kind))
    with pytest.raises(Refused, match=r"its tensors would hold 1048[0-9]+ bytes, and the file has 5$"):
        require_plain(more, 5)


def test_only_tensors_count_wherever_they_are_held_again() -> None:
    """Half of what may be held, twice; whatever else is kept and asked for again takes nothing."""
    half = tensor(number(SMALL // 8) + b"\x85")
    twice = half + b"q\x01h\x01"
    others = b"}q\x02h\x02h\x02" + storage(6) + b"q\x03h\x03" + text("a") + b"q\x04h\x04"
    require_plain(table(twice, others), 0)
    with pytest.raises(Refused, match=f"would hold {SMALL // 2 * 3} bytes"):
        require_plain(table(twice, others, b"h\x01"), 0)


@pytest.mark.parametrize(("dimensions", "passes"), [(0, True), (64, True), (65, False)])
def test_a_tensor_has_at_most_as_many_sides_as_torchs(dimensions: int, passes: bool) -> None:
    whole = table(tensor(b"(" + number(1) * dimensions + b"t"))
    if passes:
        require_plain(whole, 0)
    else:
        with pytest.raises(Refused, match=r"calls torch\._utils\._rebuild_tensor_v2 with what torch never gives it"):
            require_plain(whole, 0)


@pytest.mark.parametrize(("steps", "cause"), [
    (name("builtins bytearray") + number(3) + b"\x85R", "first 'builtins.bytearray'"),
    (name("torch.hub load") + text("a") + b"\x85R", "first 'torch.hub.load'"),
    (text("a") + text("b") + b"\x85R", r"first '\?'"),
    (name("torch Size") + text("b") + b"R", "first 'torch.Size'"),
    (b"N" + text("a") + b"b", "changes what it has made"),
    (storage(6) + b"}b", "changes what it has made"),
    (b"}(" + text("a") + number(1) + b"}" + number(1) + b"u", "entries whose names are no text"),
    (b"}(" + text("a") + number(1) + number(2) + b"}" + b"}" + number(1) + b"u", "entries whose names are no text"),
    (b"]" + text("a") + number(1) + b"a", "damaged"),
    (b"(" + text("storage") + name("torch FloatStorage") + text("0") + text("cpu") + b"tQ", "a place that is none"),
    (b"(" + text("storage") + text("torch FloatStorage") + text("0") + text("cpu") + number(6) + b"tQ",
     "a place that is none"),
    (name("collections OrderedDict") + number(1) + b"\x85R", "with what torch never gives it"),
    (name("_codecs encode") + number(1) + text("latin1") + b"\x86R", "with what torch never gives it"),
    (name("collections Counter") + storage(6) + b"\x85R", "with what torch never gives it"),
    (name("torch._utils _rebuild_parameter") + storage(6) + b"\x89}\x87R", "with what torch never gives it"),
    (number(1) + b"\x86", "its table ends too early"),
], ids=range(16))
def test_what_a_table_would_do_is_named(steps: bytes, cause: str) -> None:
    with pytest.raises(Refused, match=cause):
        require_plain(table(steps), 10**6)
