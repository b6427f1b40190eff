"""Recognition of this toolkit's files and folders, for errors that name what was passed by mistake.

Only names and first bytes are checked, without importing the libraries that open the files.
"""

from __future__ import annotations

import os
import re
import zipfile
from contextlib import suppress
from enum import Enum
from pathlib import Path

from siamese.errors import InputError

MANIFEST = "manifest.json"
"""Name of the file that describes an embeddings folder or the folder of a FAISS index."""

TRAINING_STATE = "training_state.hdf5"
"""Name of the file that `siamese train --resume` resumes from."""

_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}WEBP|II\*\0|MM\0\*|BM.{4}\0{4}"
    rb"|.{4}ftyp(avif|avis|heic|mif1)",
    re.DOTALL,
)
_ITEM = re.compile(rb'"\s*:\s*\{\s*("[^"]*"\s*:[^{}]*,\s*)?"images"\s*:\s*\[')


class Artefact(Enum):
    """Kind of file or folder; the value describes it and says which flag or command accepts it."""

    CHECKPOINT = "a Keras checkpoint; give it as --keras-model"
    TRAINING_STATE = (
        "the state of a training run, written by `siamese train`; give its folder as --output of "
        "`siamese train --resume`"
    )
    SAVED_MODEL = (
        "a SavedModel for TensorFlow Serving, written by `siamese export`; give the checkpoint as "
        "--keras-model instead"
    )
    BALLTREE_INDEX = "a balltree index, written by `siamese index`; give it as --index"
    FAISS_INDEX = "a FAISS index, written by `siamese index`; give it as --index"
    MILVUS_FOLDER = "a Milvus Lite folder, written by `siamese index`; give it as --index"
    EMBEDDINGS = "an embeddings folder, written by `siamese embed`; give it as --embeddings"
    CALIBRATION = (
        "a calibration, written by `siamese evaluate --calibrate`; give the checkpoint beside it "
        "as --keras-model"
    )
    LABELED_DATA = (
        "labelled data; give it as --labeled-data, or as --queries of `siamese search` and "
        "`siamese evaluate`"
    )
    PICTURE = "a picture; give it to `siamese search`"


INDEXES = (Artefact.BALLTREE_INDEX, Artefact.FAISS_INDEX, Artefact.MILVUS_FOLDER)
MODELS = (Artefact.CHECKPOINT, Artefact.TRAINING_STATE)


def find_artefact(path: str | os.PathLike[str]) -> Artefact | None:
    """Return the kind of artefact at a path, or None if it is not an artefact or is unreadable."""
    path = Path(path)
    with suppress(OSError, ValueError, zipfile.BadZipFile):
        if path.is_dir():
            return _find_in_folder(path)
        if path.is_file():  # opening a named pipe would block
            return _find_in_file(path)
    return None


def describe_artefact(
    path: str | os.PathLike[str], *, other_than: tuple[Artefact, ...] = ()
) -> str | None:
    """Describe the artefact at a path, or return None if there is none or it is in `other_than`."""
    found = find_artefact(path)
    return None if found is None or found in other_than else found.value


def require_artefact(path: str | os.PathLike[str], expected: str, *kinds: Artefact) -> None:
    """Raise an error if there is an artefact at the path and its kind is not in `kinds`.

    Parameters
    ----------
    expected : str
        What the path should be, such as ``"an index"``, for the error message.
    *kinds : Artefact
        Accepted kinds. A path without an artefact is always accepted.

    Raises
    ------
    InputError
        If the kind is not in `kinds`; the message says which flag or command accepts it.
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
    """Return whether a folder contains Milvus Lite data; False if it does not exist."""
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


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2**16)
