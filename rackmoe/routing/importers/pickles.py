"""Read the pickle inside a PyTorch file as data; nothing is imported, called or executed."""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rackmoe.errors import TraceError

__all__ = ["StorageRef", "TensorRef", "read_pickle"]

_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
_ORDERED_DICT = "collections OrderedDict"
_REBUILD = "torch._utils _rebuild_tensor_v2"
_N_REBUILD = (6, 7)  # storage, offset, size, stride, requires_grad, hooks and sometimes metadata
_N_PERSISTENT = 5  # "storage", type, key, device, elements


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRef:
    """The numbers of a tensor, by the name of their file in the archive.

    Attributes
    ----------
    dtype : str
        Type of the numbers as NumPy writes it, without byte order.
    key : str
        Name of the file in the folder ``data``.
    n_elements : int
        How many there are.
    """

    dtype: str
    key: str
    n_elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRef:
    """A view of a storage.

    Attributes
    ----------
    storage : StorageRef
        The numbers.
    offset : int
        First element.
    shape, strides : tuple of int
        Elements along each axis; elements from one to the next.
    """

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Symbol:
    """A name that the pickle mentions, from the list of those that mean something."""

    name: str


_MARK = _Symbol("mark")


def read_pickle(data: bytes, *, place: str) -> Any:  # noqa: ANN401 - pickles say anything
    """Return the dicts, lists, numbers, text and tensors that a pickle holds.

    An interpreter of the few opcodes that ``torch.save`` writes for such data. Of
    functions it knows ``OrderedDict`` and ``_rebuild_tensor_v2``, by name only;
    storages become references.

    Parameters
    ----------
    data : bytes
        The pickle.
    place : str
        Where it stands, for the message.

    Returns
    -------
    object
        What it holds; tensors as `TensorRef`.

    Raises
    ------
    TraceError
        If it asks for anything else.
    """
    machine = _Machine()
    at, name = 0, ""
    try:
        for opcode, argument, position in pickletools.genops(data):
            at, name = position or 0, opcode.name
            _ACTIONS.get(opcode.name, _Machine.refuse)(machine, argument)
        (value,) = machine.stack
    except _RefusedError as error:
        raise TraceError(
            f"{place}: {error} ({name} at byte {at}); expected plain data and tensors only; "
            "do not trust this file"
        ) from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise TraceError(
            f"{place}: damaged at byte {at}; expected the pickle of a recorder; copy it again"
        ) from error
    return value


class _RefusedError(Exception):
    """The pickle asks for something that data does not need."""


@dataclass(slots=True)
class _Machine:
    """The stack and the memo of a pickle that is being read."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def refuse(self, _argument: object) -> None:
        raise _RefusedError("an opcode that data does not need")

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError(at)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def build_tuple(self, size: int) -> None:
        items = tuple(self.stack[len(self.stack) - size :])
        if len(items) != size:
            raise IndexError(size)
        del self.stack[len(self.stack) - size :]
        self.push(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise _RefusedError("items of something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in {str, int}:
                raise _RefusedError(f"a key of type {type(key).__name__}")
            target[key] = value

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _RefusedError("an item appended to something that is no list")
        self.stack[-1].extend(items)

    def name(self, text: str) -> None:
        module, _, name = text.partition(" ")
        is_storage = module == "torch" and name in _STORAGES
        if text not in {_ORDERED_DICT, _REBUILD} and not is_storage:
            raise _RefusedError(f"the name {text.replace(' ', '.')[:80]!r}")
        self.push(_Symbol(text))

    def reduce(self) -> None:
        arguments, symbol = self.stack.pop(), self.stack.pop()
        is_call = isinstance(symbol, _Symbol) and type(arguments) is tuple
        if is_call and symbol.name == _ORDERED_DICT and not arguments:
            self.push({})
        elif is_call and symbol.name == _REBUILD and len(arguments) in _N_REBUILD:
            self.push(_tensor(*arguments[:4]))
        else:
            raise _RefusedError("a call of something else than a tensor")

    def refer(self) -> None:
        words = self.stack.pop()
        is_storage = type(words) is tuple and len(words) == _N_PERSISTENT and words[0] == "storage"
        if not is_storage or not isinstance(words[1], _Symbol):
            raise _RefusedError("a reference to something else than a storage")
        key, n_elements = words[2], words[4]
        dtype = _STORAGES.get(words[1].name.removeprefix("torch "))
        if dtype is None or type(key) is not str or type(n_elements) is not int:
            raise _RefusedError("a reference to an unknown storage")
        self.push(StorageRef(dtype=dtype, key=key, n_elements=n_elements))


def _tensor(storage: object, offset: object, shape: object, strides: object) -> TensorRef:
    if not isinstance(storage, StorageRef) or type(offset) is not int:
        raise _RefusedError("a tensor without a storage")
    for axes in (shape, strides):
        if type(axes) is not tuple or not all(type(n) is int for n in axes):
            raise _RefusedError("a tensor whose shape is not made of integers")
    return TensorRef(storage=storage, offset=offset, shape=shape, strides=strides)  # type: ignore[arg-type]  # checked above


_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda _machine, _version: None,
    "STOP": lambda _machine, _nothing: None,
    "MARK": lambda machine, _: machine.push(_MARK),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),  # noqa: FBT003 - the value that is pushed
    "NEWFALSE": lambda machine, _: machine.push(False),  # noqa: FBT003 - likewise
    **dict.fromkeys(
        ["BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"], _Machine.push
    ),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.build_tuple(1),
    "TUPLE2": lambda machine, _: machine.build_tuple(2),
    "TUPLE3": lambda machine, _: machine.build_tuple(3),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(
        [machine.stack.pop(), machine.stack.pop()][::-1]
    ),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": _Machine.name,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BINPERSID": lambda machine, _: machine.refer(),
}
