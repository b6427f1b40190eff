"""Folder of an index: its files, and a manifest with their names and checksums.

A writer first writes new files under new names, then replaces the manifest, and finally deletes the
old files. A reader thus always finds a complete version, even after an interruption.
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
from siamese.indexes.faiss.layout import Layout
from siamese.models.facts import ModelFacts
from siamese.utils.artefacts import INDEXES, MANIFEST, require_artefact
from siamese.utils.files import atomic_path, lock_folder, require_writable

FORMAT = 1
"""Version of the folder format; reading a newer version is an error."""

SUFFIXES = {"vectors": ".faiss", "pictures": ".arrow"}
"""Suffixes of an index's files, by their keys in `Manifest.files`."""

T = TypeVar("T")


class ManifestFile(msgspec.Struct, frozen=True):
    """Name, size in bytes and hexadecimal XXH3 checksum of a file in the folder.

    The checksum detects damage but not tampering, so reading must be safe whatever the file
    contains.
    """

    name: str
    bytes: int
    xxh3: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of ``manifest.json``.

    `rows` is the number of rows, including those of removed pictures, and `unmeasured` the number
    added since recall was last measured. `versions` lists the versions of the packages used.
    """

    format: int
    backend: str
    metric: str
    pictures: int
    rows: int
    unmeasured: int
    embedding_size: int
    model: ModelFacts
    layout: Layout = msgspec.field(name="found")
    min_recall: float
    augmented: bool
    versions: dict[str, str]
    files: dict[str, ManifestFile]


def read_folder(folder: Path, read: Callable[[Manifest, Path, Path], T]) -> T:
    """Check the files in a folder, and return `read(manifest, vectors_path, pictures_path)`.

    If a check fails or `read` raises a `ValueError`, an `InputError` reports the damage.
    """
    require_artefact(folder, "an index", *INDEXES)
    while True:
        manifest = _read_manifest(folder)
        try:
            # Reading is safe whatever the files contain, so it need not wait for the checksums.
            with ThreadPoolExecutor() as pool:
                checks = [pool.submit(_check_file, folder, manifest, name) for name in SUFFIXES]
                try:
                    return read(
                        manifest, *(_file_path(folder, manifest, name) for name in SUFFIXES)
                    )
                finally:
                    for check in checks:
                        check.result()  # if reading fails too, this error explains why
        except (OSError, ValueError) as error:
            if manifest != _read_manifest(folder):
                continue  # the index was replaced while it was read
            if isinstance(error, FileNotFoundError):
                reason = f"{Path(error.filename).name} is missing"
            elif isinstance(error, OSError):
                raise InputError(
                    f"{folder}: cannot be read ({error.strerror or error}); index again"
                ) from None
            else:
                reason = str(error)
            raise _damage_error(folder, reason) from None


def require_index_folder(folder: Path) -> None:
    """Check in advance that an index can be written to a folder, or raise an `InputError`."""
    require_artefact(folder, "an index", *INDEXES)
    require_writable(folder / MANIFEST)
    others = [
        path.name
        for path in folder.iterdir()
        if path.name != MANIFEST and not _OWN_FILE.fullmatch(path.name)
    ]
    if others:
        raise InputError(
            f"{folder}: has other files in it, such as {min(others)}; choose another path"
        )


def write_folder(
    folder: Path,
    manifest: Manifest,
    writers: Mapping[str, Callable[[Path], None]],
    *,
    replaces: str | None = None,
) -> dict[str, ManifestFile]:
    """Write the files of an index with `writers`, then the manifest; return its `files`.

    `replaces`, if given, is the expected name of the folder's current vectors file. A different
    name means that another process has changed the index, and raises an `InputError`.
    """
    require_index_folder(folder)
    with lock_folder(folder):
        for temporary in folder.glob(".*.tmp"):  # left by a killed process
            shutil.rmtree(temporary, ignore_errors=True)
        if replaces is not None and _read_manifest(folder).files["vectors"].name != replaces:
            raise InputError(
                f"{folder}: another run has changed it since it was opened; run the command again"
            )
        matches = [_NUMBERED_FILE.search(path.name) for path in folder.iterdir()]
        number = 1 + max((int(match[1]) for match in matches if match), default=0)
        files = {}
        for name, suffix in SUFFIXES.items():
            path = folder / f"{name}-{number:05}{suffix}"
            with atomic_path(path) as temporary:
                writers[name](temporary)
            files[name] = ManifestFile(path.name, path.stat().st_size, checksum(path))
        with atomic_path(folder / MANIFEST) as temporary:
            encoded = msgspec.json.encode(msgspec.structs.replace(manifest, files=files))
            temporary.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
        current = {file.name for file in files.values()}
        for path in folder.iterdir():
            if _NUMBERED_FILE.search(path.name) and path.name not in current:
                with contextlib.suppress(OSError):
                    path.unlink()
        return files


def checksum(path: Path) -> str:
    """Return the XXH3 checksum of a file, in hexadecimal.

    The file is read in blocks, because mapped pages would count as memory of this process.
    """
    import xxhash

    digest = xxhash.xxh3_64()
    buffer = bytearray(2**20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


_NUMBERED_FILE = re.compile(r"-(\d{5,9})\.[a-z]+$")
_OWN_FILE = re.compile(r"[a-z]+-\d{5,9}\.[a-z]+|\.lock|\..*\.tmp")


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        number = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("format")
        number = None if number is None else msgspec.json.decode(number)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); index again"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _damage_error(folder, f"{MANIFEST} is not JSON") from None
    if isinstance(number, int) and number > FORMAT:
        raise InputError(
            f"{folder}: written by a newer version (format {number}); update this package, or "
            "index again"
        )
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damage_error(folder, f"{MANIFEST}: {error}") from None
    if (manifest.format, manifest.backend, manifest.metric) != (FORMAT, "faiss", "euclidean"):
        raise _damage_error(folder, f"{MANIFEST} is of another type of index")
    return manifest


def _file_path(folder: Path, manifest: Manifest, name: str) -> Path:
    """Return the path of a file in the manifest; raise a `ValueError` if it is not allowed."""
    file = manifest.files.get(name)
    if file is None:
        raise ValueError(f"{MANIFEST} has no {name} file")
    # Only plain names of files that are not links, so that no path points outside the folder.
    path = folder / file.name
    if not _OWN_FILE.fullmatch(file.name) or path.is_symlink():
        raise ValueError(f"{MANIFEST} names {file.name!r}, which is not a file of an index")
    if path.exists() and not path.is_file():  # reading a pipe would block forever
        raise ValueError(f"{file.name} is not a regular file")
    return path


def _check_file(folder: Path, manifest: Manifest, name: str) -> None:
    """Raise a `ValueError` if a file does not have the size and checksum in the manifest."""
    path, file = _file_path(folder, manifest, name), manifest.files[name]
    if path.stat().st_size != file.bytes or checksum(path) != file.xxh3:
        raise ValueError(f"{file.name} has another checksum than when it was written")


def _damage_error(folder: Path, reason: str) -> InputError:
    return InputError(f"{folder}: damaged ({' '.join(reason.split())}); index again")
