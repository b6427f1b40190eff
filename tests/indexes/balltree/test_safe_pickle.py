from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes.balltree.safe_pickle import NUMPY_NAMES, PickledCall, read_pickle, to_array


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def read(tmp_path, data):
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    return read_pickle(path, NUMPY_NAMES)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_values_are_read(tmp_path, protocol):
    value = {
        "a": [1, -2, 70_000, 2**40, 2.5, True, None],
        "b": ("ü", b"\0", (), ("x",) * 2),
        "c": {},
    }
    value["long"] = ["x" * 300, b"y" * 300, list(range(2000)), {str(n): n for n in range(2000)}]
    assert read(tmp_path, pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_of_numpy_1_and_2_are_read(tmp_path, protocol, core):
    values = np.arange(12.0).reshape(3, 4)
    data = pickle.dumps(values, protocol)
    for own in (b"numpy._core.", b"numpy.core."):
        data = _renamed(data, own, core.encode() + b".")
    made = read(tmp_path, data)
    assert isinstance(made, PickledCall)
    back = to_array(made, "<f8")
    assert (back == values).all() and back.dtype == "<f8" and not back.flags.writeable
    for other in ("<f4", "<i8", ">f8", [("x", "<f8")]):
        with pytest.raises(ValueError, match="not of type"):
            to_array(made, other)


def _renamed(data, old, new):
    """Rename a module in a pickle, and change its length in front of it."""
    for end in (b"multiarray", b"numeric"):
        sized = bytes([len(old + end)]) + old + end
        data = data.replace(sized, bytes([len(new + end)]) + new + end)
        data = data.replace(b"c" + old + end + b"\n", b"c" + new + end + b"\n")
    return pickle.PROTO + data[1:2] + _unframed(data[2:])


def _unframed(data):
    return data[9:] if data[:1] == pickle.FRAME else data


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    ("function", "args"),
    [
        (os.system, ("touch {path}",)),
        (subprocess.call, (["touch", "{path}"],)),
        (builtins.eval, ("open({path!r}, 'w')",)),
        (builtins.exec, ("open({path!r}, 'w')",)),
        (builtins.open, ("{path}", "w")),
        (builtins.getattr, ("", "format")),
        (np.load, ("{path}",)),
        (np.save, ("{path}", 1)),
        (io.FileIO, ("{path}", "w")),
        (pickle.loads, (b"",)),
    ],
)
def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path, protocol, function, args):
    trace = tmp_path / "trace"
    args = [part.format(path=str(trace)) if isinstance(part, str) else part for part in args]
    with pytest.raises(
        InputError, match=r"file\.pkl: refers to .*, which an index never does; do not"
    ):
        read(tmp_path, pickle.dumps({"metadata": [Calls(function, *args)]}, protocol))
    assert not trace.exists()


def test_an_allowed_name_is_not_executed_either(tmp_path):
    made = read(tmp_path, pickle.dumps(Calls(np.dtype, "f8"), 4))
    assert isinstance(made, PickledCall) and (made.name, made.args) == ("numpy.dtype", ("f8",))


OPENS = b"cposix\nsystem\n"
NEST = b"\x80\x04"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle at all",
        b'{"index": []}',
        pickle.dumps({"a": 1}, 0),
        b"\x80",
        b"\x80\x63.",
        b"\x80\x04.",
        b"\x80\x04N",
        NEST + b"(i" + OPENS[1:] + b".",
        NEST + b"]" + OPENS + b"o.",
        NEST + OPENS + b")\x81.",
        NEST + b"\x8c\x05posix\x8c\x06system\x93.",
        NEST + b"P1\n.",
        NEST + b"\x82\x01.",
        NEST + b"\x96" + b"\xff" * 7 + b"\x7f" + b"x.",
        NEST + b"\x8e" + b"\xff" * 6 + b"\x00\x00" + b"x.",
        NEST + b"\x95" + b"\xff" * 8 + b"N.",
        NEST + b"}" + b")" + b"\x85" * 1_000_000 + b"Ns.",  # hashing it overflows the stack
        NEST + b"cnumpy\ndtype\n(" + b"N" * 1000 + b"tR.",
        NEST + b"]" + b"N" + b"b.",
        NEST + b"cnumpy\ndtype\n}\x8c\x08__code__Nsb.",
        NEST + b"\x8fN\x90.",
    ],
    ids=range(22),
)
def test_any_other_file_is_one_line(tmp_path, data):
    with pytest.raises(InputError, match=r"file\.pkl: ") as caught:
        read(tmp_path, data)
    assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)


def test_a_huge_memo_index_allocates_no_memory(tmp_path):
    assert read(tmp_path, NEST + b"]r\xff\xff\xff\xff.") == []  # 64 GiB in the C unpickler


def test_names_from_the_file_are_printable_and_short(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, NEST + b"c\x1b[2J" + b"x" * 10_000 + b"\nname\n.")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "state",
    [
        lambda dtype: (1, (4,), dtype, False, b"\0" * 31),
        lambda dtype: (1, (2**40, 2**40), dtype, False, b"\0" * 32),
        lambda dtype: (1, (1,) * 9 + (4,), dtype, False, b"\0" * 32),
        lambda dtype: (1, (-4,), dtype, False, b"\0" * 32),
        lambda dtype: (1, (4,), dtype, False, [None] * 4),
        lambda dtype: (1, (4,), dtype, True, b"\0" * 32),
        lambda dtype: (1, (4,), None, False, b"\0" * 32),
        lambda dtype: (1, "4", dtype, False, b"\0" * 32),
        lambda dtype: None,
    ],
)
def test_an_invalid_array_is_refused(tmp_path, state):
    dtype = read(tmp_path, pickle.dumps(np.dtype("<f8"), 4))
    made = PickledCall("numpy._core.multiarray._reconstruct", ())
    made.state = state(dtype)
    with pytest.raises(ValueError, match="array"):
        to_array(made, "<f8")


def test_an_unreadable_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pkl: no such file"):
        read_pickle(tmp_path / "absent.pkl", NUMPY_NAMES)
    with pytest.raises(InputError, match="cannot be read"):
        read_pickle(tmp_path, NUMPY_NAMES)
