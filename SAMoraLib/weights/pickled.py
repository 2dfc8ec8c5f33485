"""What the table of a ``.pth`` file would make, followed step by step without making any of it.

torch's reader of plain weights runs no code, but it makes whatever the table says: ten bytes stretched to a tensor of
10**12 numbers, sets of them, names whose parts are the same pair a thousand million times over. So the steps are looked
at before: what is named, how large each tensor says to be, and that what is called gets what it was meant for.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from SAMoraLib.fields import shown

MAX_BYTES = 4 << 20  # the table of some fifty thousand tensors
SHARED = 4  # how often the tensors of a file may hold each number of it: some are saved under several names
SMALL = 1 << 20  # bytes to which tensors may be stretched, however small the file
ITEM_BYTES = {"Double": 8, "Long": 8, "ComplexFloat": 8, "ComplexDouble": 16, "Float": 4, "Int": 4, "Half": 2,
              "BFloat16": 2, "Short": 2}  # of torch.FloatStorage and its like; of all others 1
_SCALAR = (str, bytes, int, float, type(None))


class Refused(ValueError):
    """What the table would make is not to be made; the text is the cause alone."""


@dataclass(frozen=True)
class Named:
    """A class or function that the table names."""

    name: str


@dataclass
class Made:
    """What a step would make: storage, a tensor, a table, or anything else whose content does not matter.

    Attributes:
        bytes: of storage those of each number, of a tensor those of all of them.
    """

    of: str
    bytes: int = 0


@dataclass
class _Table:
    """The state of a pickle that is being followed, and the bytes that its tensors would hold."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    bytes: int = 0

    def step(self, code: str, argument: Any) -> None:
        """Follow one instruction."""
        if code in _PUSHED:
            new = _PUSHED[code]
            self.stack.append(argument if new is None else new())
        elif code in _STEPS:
            _STEPS[code](self, argument)
        else:
            raise Refused(f"its table has the instruction {code}, which torch never writes")

    def held(self, made: Made) -> Made:
        """Count the bytes of what is held here; once more, where it is held elsewhere, too."""
        self.bytes += made.bytes if made.of == "tensor" else 0
        return made

    def above(self) -> list[Any]:
        """Take off what lies above the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def take(self, count: int) -> list[Any]:
        """Take off the last values."""
        taken = self.stack[-count:]
        if len(taken) < count:
            raise Refused("its table ends too early")
        del self.stack[-count:]
        return taken


def require_plain(pickle: bytes, file_bytes: int) -> None:
    """Refuse a table that would make anything but tensors of a file's own numbers, plain values, lists and tables.

    Raises:
        Refused: it is too long or damaged, names anything else, or its tensors hold far more than the file.
    """
    if len(pickle) > MAX_BYTES:
        raise Refused(f"its table is longer than {MAX_BYTES} bytes")
    table = _Table()
    try:
        for code, argument, _ in pickletools.genops(pickle):
            table.step(code.name, argument)
    except Refused:
        raise
    except Exception as error:  # of a damaged one Python raises almost anything
        raise Refused("its table is damaged") from error
    if table.bytes > SHARED * file_bytes + SMALL:
        raise Refused(f"its tensors would hold {table.bytes} bytes, and the file has {file_bytes}")


def _name(table: _Table, argument: str) -> None:
    name = argument.replace(" ", ".").replace("__builtin__.", "builtins.")
    if name not in _CALLS and not name.startswith("torch."):
        raise Refused(f"it carries code or objects of Python's beside its tensors, first {shown(name)}")
    table.stack.append(Named(name))


def _call(table: _Table, _: Any) -> None:
    function, arguments = table.take(2)
    table.stack.append(_called(table, function, arguments))


def _called(table: _Table, function: Any, arguments: Any) -> Made:
    if not isinstance(function, Named) or function.name not in _CALLS or not isinstance(arguments, tuple):
        name = function.name if isinstance(function, Named) else "?"
        raise Refused(f"it carries code or objects of Python's beside its tensors, first {shown(name)}")
    made = _CALLS[function.name](table, arguments)
    if made is None:
        raise Refused(f"its table calls {function.name} with what torch never gives it")
    return made


def _tensor(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    storage, size = arguments[0], arguments[2]
    if not isinstance(storage, Made) or storage.of != "storage" or not _are_sizes(size):
        return None
    return table.held(Made("tensor", math.prod(size) * storage.bytes))


def _are_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= 64 and all(type(n) is int and n >= 0 for n in value)


def _of_tensor(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    return arguments[0] if isinstance(arguments[0], Made) and arguments[0].of == "tensor" else None


def _with_attributes(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    return _called(table, arguments[0], arguments[2])


def _empty(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    return None if arguments else Made("table")


def _of_scalars(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    """A set, a size or a device: of scalars, or of one list of them."""
    items = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list | tuple) else arguments
    return Made("value") if all(isinstance(item, _SCALAR) for item in items) else None


def _counted(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    return Made("table") if all(isinstance(one, Made) and one.of == "table" for one in arguments) else None


def _bytes(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    """How bytes are written: as text, each of its letters a byte."""
    return Made("value") if isinstance(arguments[0], str) and arguments[1:] in (("latin1",), ("latin-1",)) else None


def _other_tensor(table: _Table, arguments: tuple[Any, ...]) -> Made | None:
    """Sparse, or without values: it is refused by its kind once it is there, and takes no more than its parts."""
    return Made("other tensor")


_CALLS: Mapping[str, Callable[[_Table, tuple[Any, ...]], Made | None]] = {
    "torch._utils._rebuild_tensor": _tensor, "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor, "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _of_tensor, "torch._utils._rebuild_parameter_with_state": _of_tensor,
    "torch._tensor._rebuild_from_type_v2": _with_attributes, "torch._utils._rebuild_sparse_tensor": _other_tensor,
    "torch._utils._rebuild_meta_tensor_no_storage": _other_tensor, "torch.serialization._get_layout": _of_scalars,
    "torch.Size": _of_scalars, "torch.device": _of_scalars, "builtins.set": _of_scalars,
    "builtins.complex": _of_scalars, "collections.OrderedDict": _empty, "collections.Counter": _counted,
    "_codecs.encode": _bytes}


def _storage(table: _Table, _: Any) -> None:
    (found,) = table.take(1)
    if not isinstance(found, tuple) or len(found) < 5 or not isinstance(found[1], Named):
        raise Refused("its table names a place that is none of the file's")
    kind = found[1].name.removeprefix("torch.").removesuffix("Storage")
    table.stack.append(Made("storage", ITEM_BYTES.get(kind, 1)))


def _tuple(table: _Table, _: Any) -> None:
    table.stack.append(tuple(table.above()))


def _tuple_of(count: int) -> Callable[[_Table, Any], None]:
    return lambda table, _: table.stack.append(tuple(table.take(count)))


def _append(table: _Table, items: list[Any]) -> None:
    if not isinstance(table.stack[-1], list):
        raise Refused("its table is damaged")
    table.stack[-1].extend(items)


def _set_items(table: _Table, items: list[Any]) -> None:
    """Keys are scalars, or tuples of them: pairs within pairs would be added up for ever."""
    for key in items[::2]:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, _SCALAR) for part in parts):
            raise Refused("its table has entries whose names are no text")


def _build(table: _Table, _: Any) -> None:
    table.take(1)
    if not isinstance(table.stack[-1], Made) or table.stack[-1].of != "table":
        raise Refused("its table changes what it has made, as torch never does")


def _get(table: _Table, argument: int) -> None:
    found = table.memo[argument]
    table.stack.append(table.held(found) if isinstance(found, Made) else found)


def _put(table: _Table, argument: int) -> None:
    table.memo[argument] = table.stack[-1]


# What is laid on the stack: the instruction's own argument (None), or something new.
_PUSHED: Mapping[str, Callable[[], Any] | None] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING")),
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple, "EMPTY_LIST": list,
    "EMPTY_DICT": lambda: Made("table"), "EMPTY_SET": lambda: Made("value")}
_STEPS: Mapping[str, Callable[[_Table, Any], None]] = {
    "PROTO": lambda table, _: None, "STOP": lambda table, _: table.stack.extend(table.take(1)),
    "MARK": lambda table, _: table.marks.append(len(table.stack)),
    "TUPLE": _tuple, "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3),
    "APPEND": lambda table, _: _append(table, table.take(1)), "APPENDS": lambda table, _: _append(table, table.above()),
    "SETITEM": lambda table, _: _set_items(table, table.take(2)),
    "SETITEMS": lambda table, _: _set_items(table, table.above()),
    "GLOBAL": _name, "REDUCE": _call, "NEWOBJ": _call, "BUILD": _build, "BINPERSID": _storage,
    "BINPUT": _put, "LONG_BINPUT": _put,
    "BINGET": _get, "LONG_BINGET": _get}
