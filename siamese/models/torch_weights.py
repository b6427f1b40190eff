"""Reader of PyTorch checkpoints that does not need PyTorch and runs no code from the file.

The format is that of `torch.save` before PyTorch 1.6: five pickles (magic number, protocol version,
system information, state dict, storage keys), followed by the storages. Each storage is a 64-bit
element count and the little-endian elements. Tensors in the state dict refer to storages by key.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensor(NamedTuple):
    """Arguments of `torch._utils._rebuild_tensor_v2`; `offset` and `strides` are in elements."""

    storage: tuple[Any, ...]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    backward_hooks: Any
    metadata: Any = None


class _StateDictUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"a state dict never contains {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_torch_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Read a checkpoint's state dict; raise `pickle.UnpicklingError` if the file is invalid."""
    try:
        return _read(path)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged file can raise almost any exception
        raise pickle.UnpicklingError(f"{path}: not a PyTorch checkpoint, or damaged") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if _load(file) != _MAGIC_NUMBER:
            raise pickle.UnpicklingError(
                f"{path}: not a PyTorch checkpoint of the format before 1.6"
            )
        _load(file), _load(file)  # protocol version and system information
        tensors: dict[str, _Tensor] = _load(file)
        dtypes = {tensor.storage[2]: tensor.storage[1] for tensor in tensors.values()}
        storages = {}
        for name in _load(file):
            (count,) = np.fromfile(file, "<i8", 1)
            storages[name] = np.fromfile(file, dtypes[name], count)
    return {name: _array(tensor, storages[tensor.storage[2]]) for name, tensor in tensors.items()}


def _array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    size = storage.itemsize
    strides = [size * stride for stride in tensor.strides]
    # Unlike `as_strided`, this raises an error if a tensor extends beyond its storage.
    return np.ndarray(tensor.shape, storage.dtype, storage, size * tensor.offset, strides).copy()


def _load(file: BinaryIO) -> Any:
    return _StateDictUnpickler(file).load()
