"""An index as a folder: a manifest that names its files and their sums.

The files of a new state get new names; then the manifest is replaced, and only then do the old
files go. So a reader finds one state or the other, and a stop in between loses nothing.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from siamese.errors import InputError
from siamese.indexes.faiss.vectors import Found
from siamese.models.facts import ModelFacts
from siamese.utils.artefacts import INDEXES, MANIFEST, require_artefact
from siamese.utils.files import atomic_path, lock_folder, require_writable

FORMAT = 1
"""Of the folder; a newer one is refused."""

T = TypeVar("T")


class File(msgspec.Struct, frozen=True):
    """A file of the folder: its name, its size in bytes, its XXH3 (64 bits, in hex).

    The sum finds damage. It keeps nobody out: what is read must be safe whatever it holds.
    """

    name: str
    bytes: int
    xxh3: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the folder holds, as JSON.

    Attributes
    ----------
    backend : "faiss"
    metric : "euclidean"
    pictures : how many there are; `rows` counts those that were removed, too
    unmeasured : rows that were added since recall was measured
    embedding_size : dimensions of the vectors
    model : whose vectors they are
    found : see `Found`
    min_recall : the floor that `found.recall` is kept above
    augmented : whether the vectors are mixed with their neighbours
    versions : of the packages that wrote it
    files : "vectors" and "pictures"
    """

    format: int
    backend: str
    metric: str
    pictures: int
    rows: int
    unmeasured: int
    embedding_size: int
    model: ModelFacts
    found: Found
    min_recall: float
    augmented: bool
    versions: dict[str, str]
    files: dict[str, File]


def is_index_folder(path: Path) -> bool:
    """Tell whether a folder is one of these."""
    return (path / MANIFEST).is_file()


def read_folder(
    folder: Path, names: tuple[str, ...], read: Callable[[Manifest, list[Path]], T]
) -> T:
    """Read the manifest, prove that the files are whole, and read them.

    Parameters
    ----------
    names : of the files that there must be
    read : makes something of the manifest and the paths, in the order of `names`; its ValueErrors
        are told as damage

    Raises
    ------
    InputError
        One line: what is missing, damaged, or of a newer version.
    """
    require_artefact(folder, "an index", *INDEXES)
    while True:
        manifest = _manifest(folder)
        try:
            # What is read is safe whatever it holds, so that it need not wait for the sums.
            with ThreadPoolExecutor() as pool:
                sums = [pool.submit(_whole, folder, manifest, name) for name in names]
                try:
                    made = read(manifest, [_path(folder, manifest, name) for name in names])
                finally:
                    for whole in sums:
                        whole.result()  # the better reason, where both fail
            return made
        except (OSError, ValueError) as error:
            if manifest != _manifest(folder):
                continue  # replaced while it was read
            if isinstance(error, FileNotFoundError):
                why = f"{Path(error.filename).name} is missing"
            elif isinstance(error, OSError):
                raise InputError(f"{folder}: unreadable ({error.strerror or error})") from None
            else:
                why = str(error)
            raise _damaged(folder, why) from None


def require_index_folder(folder: Path) -> None:
    """Prove that an index can be written to a folder, before the long work.

    Raises
    ------
    InputError
        The folder cannot be written to, or holds something else.
    """
    require_artefact(folder, "an index", *INDEXES)
    require_writable(folder / MANIFEST)
    unknown = [
        path.name
        for path in folder.iterdir()
        if path.name != MANIFEST and not _OURS.fullmatch(path.name)
    ]
    if unknown:
        raise InputError(
            f"{folder}: holds what is no part of an index, {min(unknown)} for one; choose another "
            "place"
        )


def write_folder(
    folder: Path,
    manifest: Callable[[dict[str, File]], Manifest],
    writers: Mapping[str, tuple[str, Callable[[Path], None]]],
    *,
    replaces: str | None = None,
) -> Manifest:
    """Write files and the manifest that names them.

    Parameters
    ----------
    manifest : makes it of the files
    writers : by the name in the manifest: the suffix of a file, and what writes it to a path
    replaces : the file of vectors in the state that was changed; None where it does not matter

    Returns
    -------
    The manifest that was written.

    Raises
    ------
    InputError
        The folder cannot be written to, is being written by another run, was written by one since,
        or is no index.
    """
    require_index_folder(folder)
    with lock_folder(folder):
        for left_over in folder.glob(".*.tmp"):  # by a run that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        if replaces is not None and _manifest(folder).files["vectors"].name != replaces:
            raise InputError(f"{folder}: changed by another run meanwhile; do it again")
        taken = [int(match[1]) for path in folder.iterdir() if (match := _NUMBER.search(path.name))]
        number = max(taken, default=0) + 1
        files = {}
        for name, (suffix, write) in writers.items():
            path = folder / f"{name}-{number:05}{suffix}"
            with atomic_path(path) as temporary:
                write(temporary)
            files[name] = File(path.name, path.stat().st_size, _sum(path))
        made = manifest(files)
        with atomic_path(folder / MANIFEST) as temporary:
            encoded = msgspec.json.encode(made)
            temporary.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
        kept = {file.name for file in files.values()}
        for path in folder.iterdir():
            if _NUMBER.search(path.name) and path.name not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()
        return made


_NUMBER = re.compile(r"-(\d{5,9})\.[a-z]+$")
_OURS = re.compile(r"[a-z]+-\d{5,9}\.[a-z]+|\.lock|\..*\.tmp")


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        number = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("format")
        number = None if number is None else msgspec.json.decode(number)
    except OSError as error:
        raise InputError(f"{path}: unreadable ({error.strerror or error})") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _damaged(folder, f"{MANIFEST} is no JSON") from None
    if isinstance(number, int) and number > FORMAT:
        raise InputError(
            f"{folder}: written by a newer version (format {number}); update this one, or make the "
            "index again"
        )
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(folder, f"{MANIFEST}: {error}") from None
    if (manifest.format, manifest.backend, manifest.metric) != (FORMAT, "faiss", "euclidean"):
        raise _damaged(folder, f"{MANIFEST} is of another kind of index")
    return manifest


def _path(folder: Path, manifest: Manifest, name: str) -> Path:
    """The path of a file that the manifest names, or a `ValueError`."""
    file = manifest.files.get(name)
    if file is None:
        raise ValueError(f"{MANIFEST} names no file of {name}")
    # A name alone, so that no path leads out of the folder; and no link, for the same reason.
    if not _OURS.fullmatch(file.name) or (path := folder / file.name).is_symlink():
        raise ValueError(f"{MANIFEST} names {file.name!r}, which is no file of an index")
    if path.exists() and not path.is_file():  # a pipe would be read for ever
        raise ValueError(f"{file.name} is no file")
    return path


def _whole(folder: Path, manifest: Manifest, name: str) -> None:
    """A `ValueError` where a file is not as the manifest says."""
    path, file = _path(folder, manifest, name), manifest.files[name]
    if path.stat().st_size != file.bytes or _sum(path) != file.xxh3:
        raise ValueError(f"{file.name} is not as it was written")


def _sum(path: Path) -> str:
    """XXH3 of a file: read, not mapped, so that it does not count as this process's memory."""
    import xxhash

    digest = xxhash.xxh3_64()
    buffer = bytearray(2**20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def _damaged(folder: Path, why: str) -> InputError:
    return InputError(f"{folder}: damaged ({' '.join(why.split())}); make the index again")
