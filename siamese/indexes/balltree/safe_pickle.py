"""Reading of pickles without executing any code that they refer to.

Plain containers, strings, numbers and bytes are read as usual. A reference to a class or function,
such as `numpy.dtype`, is an error unless the caller allows its name, and even then nothing is
imported: a call becomes a `PickledCall`, a record of the name and arguments for the caller to
check. A malicious file therefore runs no code, and compiled code gets only checked data.
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
"""Names that a pickled NumPy array may refer to; see `to_array`."""


class PickledName(NamedTuple):
    """Name of a class or function in a pickle; calling it only records the call."""

    name: str

    def __call__(self, *args: object) -> PickledCall:
        if len(args) > 4:  # arrays and trees need at most 4; millions would fill the memory
            raise pickle.UnpicklingError(f"{self.name} is called with {len(args)} arguments")
        return PickledCall(self.name, args)


class PickledCall:
    """Record of an object that a pickle would create with `name(*args)` and then `state`."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[object, ...]) -> None:
        self.name = name
        self.args = args
        self.state: Any = None


def read_pickle(path: str | os.PathLike[str], names: Collection[str]) -> Any:
    """Read a pickle, of protocol 3 or later, that refers only to the given dotted names.

    Every object other than a plain container or value becomes a `PickledCall` or `PickledName`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(1) != pickle.PROTO:
                raise InputError(f"{path}: not an index file (not a pickle of protocol 3 or later)")
            file.seek(0)
            return _Reader(file, path, names).load()
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run `siamese index` first") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); index again"
        ) from None
    except Exception as error:  # damaged bytes can raise almost any error
        raise damage_error(path, type(error).__name__) from None


def damage_error(path: str | os.PathLike[str], reason: str) -> InputError:
    """Return the error for a damaged index file."""
    return InputError(f"{path}: damaged ({reason}); index again")


def to_array(pickled: object, dtype: DTypeLike) -> NDArray[Any]:
    """Create the array that a `PickledCall` describes, as a read-only view of its bytes.

    Raise a `ValueError` if it is not a C-ordered array of this dtype with at most 3 dimensions.
    """
    dtype = np.dtype(dtype)
    match pickled:
        case PickledCall(name=name, args=(data, pickled_dtype, shape, "C"), state=None) if (
            name.endswith("._frombuffer")
        ):
            pass
        case PickledCall(name=name, state=(1, shape, pickled_dtype, False, data)) if name.endswith(
            "._reconstruct"
        ):
            pass
        case _:
            raise ValueError("an array is missing")
    if not _is_pickled_dtype(pickled_dtype, dtype):
        raise ValueError(f"an array is not of type {dtype}")
    if not (
        isinstance(data, bytes)
        and isinstance(shape, tuple)
        and len(shape) <= 3
        and all(type(side) is int and side > 0 for side in shape)
        and math.prod(shape) * dtype.itemsize == len(data)
    ):
        raise ValueError("the shape and the size of an array do not match")
    return np.frombuffer(data, dtype).reshape(shape)


def _is_pickled_dtype(pickled: object, dtype: np.dtype[Any]) -> bool:
    """Return whether a pickled dtype has the type code, byte order and fields of `dtype`."""
    reduced: Any = dtype.__reduce__()
    _, (code, *_), (_, order, *_) = reduced
    match pickled:
        case PickledCall(
            name="numpy.dtype",
            args=(pickled_code, *_),
            state=(_, pickled_order, _, names, fields, *_),
        ):
            if (pickled_code, pickled_order, names) != (code, order, dtype.names):
                return False
        case _:
            return False
    if dtype.fields is None:
        return fields is None
    return isinstance(fields, dict) and all(
        isinstance(field := fields.get(name), tuple)
        and len(field) == 2
        and _is_pickled_dtype(field[0], part)
        and field[1] == offset
        for name, (part, offset, *_) in dtype.fields.items()
    )


class _Reader(pickle._Unpickler):
    """Pure-Python unpickler of the standard library, restricted to the opcodes that are needed.

    The C unpickler is not safe: it allocates as large a memo table as the file asks for.
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

    def find_class(self, module: str, name: str) -> PickledName:
        full = f"{module}.{name}"
        if full not in self._names:
            raise InputError(
                f"{self._path}: refers to {ascii(full)[1:-1]:.80}, which an index never does; do "
                "not open this file"
            )
        return PickledName(full)

    def _build(self) -> None:
        state = self.stack.pop()
        call = self.stack[-1]
        if not isinstance(call, PickledCall):
            raise pickle.UnpicklingError("state for a plain value")
        call.state = state

    def _set_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._fill([key, value])

    def _set_items(self) -> None:
        self._fill(self.pop_mark())

    def _fill(self, pairs: list[Any]) -> None:
        # Keys must be strings, because hashing deeply nested tuples overflows the C stack.
        if type(self.stack[-1]) is not dict or not all(type(key) is str for key in pairs[::2]):
            raise pickle.UnpicklingError("a key is not a string")
        self.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def _bytearray(self) -> None:
        # Read as bytes: a truncated file then fails before a buffer of this size is filled.
        (size,) = struct.unpack("<Q", self.read(8))
        self.stack.append(self.read(size))

    _own: dict[bytes, Callable[[Any], None]] = {  # noqa: RUF012
        pickle.BUILD: _build,
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: _set_items,
        pickle.BYTEARRAY8: _bytearray,
    }
    dispatch |= {code[0]: handler for code, handler in _own.items()}
