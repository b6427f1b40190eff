"""Read a pickle without executing anything that it names.

Of pickle's instructions only those are obeyed that build plain containers, strings, numbers and
bytes. A name (`numpy.dtype`, say) must be on the caller's list, and even then it stays a name:
what the file would call becomes a `Made`, a record of the name and its arguments, for the caller
to judge. So a hostile file runs no code, and a damaged one never reaches compiled code that
trusts what it is given.
"""

from __future__ import annotations

import math
import os
import pickle
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from siamese.errors import InputError

NUMPY_NAMES = frozenset(
    {"numpy.dtype", "numpy.ndarray"}
    | {
        f"numpy.{core}.{function}"
        for core in ("core", "_core")  # numpy 1 and numpy 2
        for function in ("multiarray._reconstruct", "numeric._frombuffer")
    }
)
"""What a pickled numpy array names; `array` makes one of its `Made`."""


class Named(NamedTuple):
    """A class or function that a pickle names; calling it records the call."""

    name: str

    def __call__(self, *args: object) -> Made:
        """Record a call."""
        if len(args) > 4:  # an array's or a tree's have fewer; and a million would eat memory
            raise pickle.UnpicklingError(f"{self.name} is called with {len(args)} arguments")
        return Made(self.name, args)


class Made:
    """What calling `name` with `args`, and then setting `state`, would have made."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[object, ...]) -> None:
        self.name = name
        self.args = args
        self.state: Any = None


def read_pickle(path: str | os.PathLike[str], names: Collection[str]) -> Any:
    """Read a pickle of protocol 3 or later.

    Parameters
    ----------
    path : the file
    names : the dotted names the file may hold

    Returns
    -------
    What was pickled: plain containers and values, with a `Made` for every other object.

    Raises
    ------
    InputError
        If the file cannot be read, is no such pickle, is damaged, or names anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(1) != pickle.PROTO:
                raise InputError(f"{path}: not an index file (no pickle of protocol 3 or later)")
            file.seek(0)
            return _Reader(file, path, names).load()
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make an index first") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # damaged bytes make the reader stumble in nearly any way
        raise damaged(path, type(error).__name__) from None


def damaged(path: str | os.PathLike[str], reason: str) -> InputError:
    """One line for an index file that is not as it was written."""
    return InputError(f"{path}: damaged ({reason}); not opened, make the index again")


def array(made: object, dtype: DTypeLike) -> NDArray[Any]:
    """Make the numpy array that a `Made` records, as a read-only view of the bytes in the file.

    Parameters
    ----------
    made : of the name `_frombuffer` or `_reconstruct`
    dtype : the only one accepted

    Raises
    ------
    ValueError
        If it records anything else than a C-ordered array of that dtype.
    """
    dtype = np.dtype(dtype)
    match made:
        case Made(name=name, args=(data, kind, shape, "C"), state=None) if name.endswith(
            "._frombuffer"
        ):
            pass
        case Made(name=name, state=(1, shape, kind, False, data)) if name.endswith("._reconstruct"):
            pass
        case _:
            raise ValueError("no array where one should be")
    if not _is_pickled(kind, dtype):
        raise ValueError(f"an array of another type than {dtype}")
    if not (
        isinstance(data, bytes)
        and isinstance(shape, tuple)
        and len(shape) <= 3
        and all(type(side) is int and side > 0 for side in shape)
        and math.prod(shape) * dtype.itemsize == len(data)
    ):
        raise ValueError("an array whose shape and size disagree")
    return np.frombuffer(data, dtype).reshape(shape)


def _is_pickled(kind: object, dtype: np.dtype[Any]) -> bool:
    """Whether `kind` records `dtype`: its name and size, byte order, and fields."""
    pickled: Any = dtype.__reduce__()
    _, (code, *_), (_, order, *_) = pickled
    match kind:
        case Made(
            name="numpy.dtype", args=(its_code, *_), state=(_, its_order, _, names, fields, *_)
        ):
            if (its_code, its_order, names) != (code, order, dtype.names):
                return False
        case _:
            return False
    if dtype.fields is None:
        return fields is None
    return isinstance(fields, dict) and all(
        isinstance(field := fields.get(name), tuple)
        and len(field) == 2
        and _is_pickled(field[0], part)
        and field[1] == at
        for name, (part, at, *_) in dtype.fields.items()
    )


class _Reader(pickle._Unpickler):
    """The unpickler of the standard library that is written in Python, with fewer instructions.

    The one written in C takes memory for as many memo entries as a file claims to have.
    """

    dispatch = {  # noqa: RUF012 - as in the base class
        code[0]: pickle._Unpickler.dispatch[code[0]]
        for code in (
            *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK),
            *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
            *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
            *(pickle.SHORT_BINUNICODE, pickle.BINUNICODE),
            *(pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8),
            *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
            *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT),
            *(pickle.MEMOIZE, pickle.BINPUT, pickle.LONG_BINPUT),
            *(pickle.BINGET, pickle.LONG_BINGET),
            *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE),
        )
    }

    stack: list[Any]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO, path: Path, names: Collection[str]) -> None:
        super().__init__(file)
        self._path = path
        self._names = names

    def find_class(self, module: str, name: str) -> Named:
        full = f"{module}.{name}"
        if full not in self._names:
            raise InputError(
                f"{self._path}: holds {ascii(full)[1:-1]:.80}, which an index never does; "
                "not opened"
            )
        return Named(full)

    def _build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if not isinstance(made, Made):
            raise pickle.UnpicklingError("state for a plain value")
        made.state = state

    def _set_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._fill([key, value])

    def _set_items(self) -> None:
        self._fill(self.pop_mark())

    def _fill(self, pairs: list[Any]) -> None:
        # Hashing a tuple in a tuple in a … overflows the C stack; strings are enough.
        if type(self.stack[-1]) is not dict or not all(type(key) is str for key in pairs[::2]):
            raise pickle.UnpicklingError("a key that is no string")
        self.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def _bytearray(self) -> None:
        # As bytes: what is missing from the file is then noticed before memory is taken for it.
        (size,) = struct.unpack("<Q", self.read(8))
        self.stack.append(self.read(size))

    _own: dict[bytes, Callable[[Any], None]] = {  # noqa: RUF012
        pickle.BUILD: _build,
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: _set_items,
        pickle.BYTEARRAY8: _bytearray,
    }
    dispatch |= {code[0]: handler for code, handler in _own.items()}
