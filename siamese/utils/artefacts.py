"""Recognise the files and folders of this toolkit, to say in an error what was given instead.

Only names and the first bytes are read, so this needs none of the libraries that open the files.
"""

from __future__ import annotations

import os
import re
import zipfile
from enum import Enum
from pathlib import Path

from siamese.errors import InputError

MANIFEST = "manifest.json"
"""Name of the file that describes a folder of embeddings, and a folder of a FAISS index."""

TRAINING_STATE = "training_state.hdf5"
"""Name of the file from which `siamese train --resume` continues."""

_HEAD_BYTES = 2**16


class Artefact(Enum):
    """Kind of file or folder; its value says what it is and which flag or command takes it."""

    CHECKPOINT = "a Keras checkpoint; give it as --keras-model"
    TRAINING_STATE = (
        "the state of a training run, written by `siamese train`; give its folder as --output of "
        "`siamese train --resume`"
    )
    SAVED_MODEL = (
        "a SavedModel, written by `siamese export`; it is for TensorFlow Serving, give the "
        "checkpoint as --keras-model instead"
    )
    BALLTREE_INDEX = "a balltree index, written by `siamese index`; give it as --index"
    FAISS_INDEX = "a FAISS index, written by `siamese index`; give it as --index"
    MILVUS_FOLDER = "a Milvus Lite folder, written by `siamese index`; give it as --index"
    EMBEDDINGS = "an embeddings folder, written by `siamese embed`; give it as --embeddings"
    CALIBRATION = (
        "a calibration, written by `siamese evaluate --calibrate`; it is read from beside its "
        "checkpoint, give that as --keras-model"
    )
    LABELED_DATA = (
        "labelled data; give it as --labeled-data, or as --queries of `siamese search` and "
        "`siamese evaluate`"
    )
    PICTURE = "a picture; give it to `siamese search`"


INDEXES = (Artefact.BALLTREE_INDEX, Artefact.FAISS_INDEX, Artefact.MILVUS_FOLDER)
MODELS = (Artefact.CHECKPOINT, Artefact.TRAINING_STATE)


def find_artefact(path: str | os.PathLike[str]) -> Artefact | None:
    """Recognise the artefact at a path.

    Parameters
    ----------
    path : str or os.PathLike
        A file or a folder.

    Returns
    -------
    Artefact or None
        Its kind; None for anything else, and for what cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _find_in_folder(path)
        if path.is_file():  # opening a pipe would wait for a writer
            return _find_in_file(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        pass
    return None


def describe_artefact(
    path: str | os.PathLike[str], *, other_than: tuple[Artefact, ...] = ()
) -> str | None:
    """Describe the artefact at a path.

    Parameters
    ----------
    path : str or os.PathLike
        A file or a folder.
    other_than : tuple of Artefact, optional
        Kinds that the caller expected, which are not described.

    Returns
    -------
    str or None
        Such as "an embeddings folder, written by `siamese embed`; give it as --embeddings";
        None for anything that is no artefact or of an expected kind.
    """
    found = find_artefact(path)
    return None if found is None or found in other_than else found.value


def require_artefact(path: str | os.PathLike[str], expected: str, *kinds: Artefact) -> None:
    """Require that a path holds no artefact of another kind than `kinds`.

    Parameters
    ----------
    path : str or os.PathLike
        A file or a folder, or a place where there is none yet.
    expected : str
        What the caller reads, such as ``"an index"``.
    *kinds : Artefact
        The kinds that it may be.

    Raises
    ------
    InputError
        Naming what the path holds, and which flag or command takes that.
    """
    if described := describe_artefact(path, other_than=kinds):
        raise InputError(f"{path}: not {expected} but {described}")


def _find_in_folder(folder: Path) -> Artefact | None:
    versions = (child for child in folder.iterdir() if child.name.isdigit())
    if any((place / "saved_model.pb").is_file() for place in (folder, *versions)):
        return Artefact.SAVED_MODEL
    if is_milvus_folder(folder):
        return Artefact.MILVUS_FOLDER
    if (folder / MANIFEST).is_file():
        manifest = _read_head(folder / MANIFEST)
        if b'"backend"' in manifest:
            return Artefact.FAISS_INDEX
        if b'"fingerprint"' in manifest or any(folder.glob("part-*.parquet")):
            return Artefact.EMBEDDINGS
    return None


def is_milvus_folder(folder: Path) -> bool:
    """Return whether a folder has what Milvus Lite writes.

    Parameters
    ----------
    folder : Path
        The folder, which need not exist.

    Returns
    -------
    bool
        True for a folder of Milvus Lite.
    """
    return (folder / "LOCK").is_file() and (folder / "collections").is_dir()


def _find_in_file(path: Path) -> Artefact | None:
    head = _read_head(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Artefact.TRAINING_STATE if path.name == TRAINING_STATE else Artefact.CHECKPOINT
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            is_keras = {"config.json", "model.weights.h5"} <= set(archive.namelist())
        return Artefact.CHECKPOINT if is_keras else None
    if head.startswith(b"\x80") and (b"metadata" in head[:256] or b"_ball_tree" in head):
        return Artefact.BALLTREE_INDEX
    if _PICTURE.match(head):
        return Artefact.PICTURE
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        if b'"threshold"' in head and b'"balanced_accuracy"' in head:
            return Artefact.CALIBRATION
        if _ITEM.search(head):
            return Artefact.LABELED_DATA
    return None


_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}WEBP|II\*\0|MM\0\*|BM.{4}\0{4}"
    rb"|.{4}ftyp(avif|avis|heic|mif1)",
    re.DOTALL,
)
_ITEM = re.compile(rb'"\s*:\s*\{\s*("[^"]*"\s*:[^{}]*,\s*)?"images"\s*:\s*\[')


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
