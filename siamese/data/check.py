"""Checks that list all problems with a catalogue and its pictures.

`quick_check` runs before training and indexing, and does not open the pictures.
`check_catalogue` also decodes every picture, and compares the bytes of files of equal size.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from siamese.data.catalogue import Catalogue, Picture, read_with_problems
from siamese.data.catalogue_json import Problem
from siamese.data.images import PictureError, open_picture
from siamese.data.remote_files import (
    File,
    Place,
    RemoteFile,
    RemoteFolder,
    cache_file,
    count_reader_threads,
    stat_files,
)
from siamese.utils.progress import progress_bar
from siamese.utils.text import pluralize
from siamese.utils.threads import map_in_threads

T = TypeVar("T")

WARNINGS = frozenset({"repeated", "single", "labels"})
"""Kinds of problem that are warnings; all other kinds are errors."""

SAMPLE_SIZE = 64
"""Maximum number of pictures that `quick_check` requests if the server cannot list its files."""


class CheckReport(msgspec.Struct, frozen=True):
    """Problems found in a catalogue, and its numbers of items and pictures."""

    problems: list[Problem]
    items: int
    pictures: int

    @property
    def errors(self) -> list[Problem]:
        """Problems that are not warnings."""
        return [problem for problem in self.problems if problem.kind not in WARNINGS]

    @property
    def fatal(self) -> list[Problem]:
        """Errors that skipping the unusable pictures would not fix."""
        return [problem for problem in self.errors if problem.kind not in ("missing", "picture")]

    @property
    def warnings(self) -> list[Problem]:
        """Problems that may be intentional."""
        return [problem for problem in self.problems if problem.kind in WARNINGS]

    def __str__(self) -> str:
        counts = (self.items, self.pictures, len(self.errors), len(self.warnings))
        return ", ".join(map(pluralize, counts, ("item", "picture", "error", "warning")))

    def as_dict(self) -> dict[str, Any]:
        """Return `items`, `pictures`, `errors` and `warnings` as a JSON-serialisable dict."""
        names = ("items", "pictures", "errors", "warnings")
        return {name: msgspec.to_builtins(getattr(self, name)) for name in names}


def check_catalogue(
    labeled_data: str | os.PathLike[str], image_dir: Place | None = None
) -> CheckReport:
    """Check a catalogue completely: its structure and filenames, and every picture it lists.

    Parameters
    ----------
    labeled_data : str or os.PathLike
        The JSON file.
    image_dir : str, os.PathLike or RemoteFolder, optional
        Path or URL of the folder of pictures. By default, the folder that contains `labeled_data`.

    Raises
    ------
    InputError
        If the JSON file or a remote `image_dir` cannot be read. Other problems are in the report.
    """
    catalogue, problems = read_with_problems(labeled_data, image_dir)
    if catalogue.items:
        files, file_problems = _find_files(catalogue, request_all=True)
        reasons = _map_with_progress(_try_decode, files, "decoding")
        problems += file_problems
        problems += [
            Problem("picture", reason, picture.item_id, picture.filename)
            for file, reason in zip(files, reasons, strict=True)
            if reason
            for picture in file.pictures
        ]
        problems += _find_equal_bytes(
            [file for file, reason in zip(files, reasons, strict=True) if not reason]
        )
        problems += _find_item_warnings(catalogue)
    return CheckReport(problems, len(catalogue.items), len(catalogue.pictures))


def quick_check(catalogue: Catalogue) -> CheckReport:
    """Check labels and files, without opening the pictures.

    This reports missing and empty files, links that point outside `image_dir`, files that occur
    more than once (even through links or a different spelling of the path), and items with a single
    picture or with empty or repeated labels. If a server cannot list its files, missing and empty
    files are not reported; at least one of up to `SAMPLE_SIZE` requested pictures must exist.
    """
    _, problems = _find_files(catalogue, request_all=False)
    problems += _find_item_warnings(catalogue)
    return CheckReport(problems, len(catalogue.items), len(catalogue.pictures))


class _PictureFile(msgspec.Struct):
    """File in `image_dir`, and the catalogue's pictures that refer to it."""

    path: str | RemoteFile
    size: int
    pictures: list[Picture]
    digest: bytes | None = None

    @property
    def file(self) -> File:
        return self.path if isinstance(self.path, RemoteFile) else Path(self.path)


class _FileError(Exception):
    """Error for an unusable file; its `args` are the `kind` and text of a `Problem`."""


def _find_files(
    catalogue: Catalogue, *, request_all: bool
) -> tuple[list[_PictureFile], list[Problem]]:
    """Find the catalogue's usable files, and the problems with the others.

    If the server cannot list its files, every file (`request_all`) or only a sample is requested.
    """
    folder = catalogue.image_dir
    if isinstance(folder, RemoteFolder):
        files, problems = _find_remote_files(catalogue.pictures, folder, request_all)
    elif folder.is_dir():
        files, problems = _find_local_files(catalogue.pictures, folder)
    else:
        return [], [Problem("catalogue", f"{folder}: no such folder; give the right --image-dir")]
    if problems and not files and all(problem.kind == "missing" for problem in problems):
        line = f"none of the pictures is in {folder}; give the right --image-dir"
        problems.insert(0, Problem("catalogue", line))
    return files, problems


def _find_local_files(
    pictures: list[Picture], image_dir: Path
) -> tuple[list[_PictureFile], list[Problem]]:
    root = os.path.realpath(image_dir)

    @cache
    def resolve(folder: str) -> str:
        path = root
        for name in filter(None, folder.split("/")):
            path = f"{path}/{name}"
            if os.path.islink(path):  # noqa: PTH114
                path = os.path.realpath(path)
        return path

    files: dict[tuple[int, int], _PictureFile] = {}
    problems: list[Problem] = []
    for picture in pictures:
        # Use strings: for a million pictures, creating Path objects would take most of the time.
        folder, _, name = posixpath.normpath(picture.filename).rpartition("/")
        try:
            path, entry = _stat_file(f"{resolve(folder)}/{name}", root)
        except _FileError as error:
            kind, line = error.args
            problems.append(Problem(kind, line, picture.item_id, picture.filename))
            continue
        # Identify files by inode: `a.jpg`, `x/../a.jpg` and links to them are the same file.
        identity = entry.st_dev, entry.st_ino
        if identity in files:
            problems.append(_duplicate_problem(picture, files[identity].pictures[0], "file"))
            files[identity].pictures.append(picture)
        else:
            files[identity] = _PictureFile(path, entry.st_size, [picture])
    return list(files.values()), problems


def _stat_file(path: str, root: str) -> tuple[str, os.stat_result]:
    """Return a file's real path and status; raise `_FileError` if the file is unusable."""
    failure: _FileError | None = None
    try:
        entry = os.lstat(path)
        if stat.S_ISLNK(entry.st_mode):
            path = os.path.realpath(path)
            entry = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        hint = "; write / between folders" if "\\" in path else ""
        failure = _FileError("missing", f"file missing{hint}")
    except OSError as error:
        failure = _FileError("picture", f"unreadable ({(error.strerror or '').lower()})")
    # Check this first: any other error would reveal whether a file outside `root` exists.
    if not path.startswith(root.rstrip("/") + "/"):
        raise _FileError("outside", f"leaves --image-dir (a link to {path})")
    if failure:
        raise failure
    if not stat.S_ISREG(entry.st_mode):
        is_folder = stat.S_ISDIR(entry.st_mode)
        raise _FileError("picture", "is a folder" if is_folder else "not a regular file")
    if not entry.st_size:
        raise _FileError("picture", "empty file")
    return path, entry


def _find_remote_files(
    pictures: list[Picture], folder: RemoteFolder, request_all: bool
) -> tuple[list[_PictureFile], list[Problem]]:
    folder.reset_listing()
    groups = _group(pictures, [posixpath.normpath(picture.filename) for picture in pictures])
    paths = [folder / group[0].filename for group in groups]
    sizes: list[int | None]
    if request_all or not folder.is_http:
        sizes = [None if status is None else status.st_size for status in stat_files(paths)]
    else:
        sample = paths[:: -(-len(paths) // SAMPLE_SIZE)]
        with closing(stat_files(sample)) as statuses:
            if not any(statuses):
                line = f"none of {pluralize(min(SAMPLE_SIZE, len(paths)), 'picture')} requested"
                line += f" is in {folder}; give the right --image-dir"
                return [], [Problem("catalogue", line)]
        sizes = [-1] * len(paths)
    files: list[_PictureFile] = []
    problems: list[Problem] = []
    duplicates: list[Problem] = []
    for path, size, group in zip(paths, sizes, groups, strict=True):
        first = group[0]
        if size is None:
            problems.append(Problem("missing", "file missing", first.item_id, first.filename))
        elif size == 0:
            problems.append(Problem("picture", "empty file", first.item_id, first.filename))
        else:
            files.append(_PictureFile(path, size, group))
            duplicates += [_duplicate_problem(picture, first, "file") for picture in group[1:]]
    return files, problems + duplicates


def _duplicate_problem(picture: Picture, first: Picture, same: str) -> Problem:
    """Return the problem to report for a picture that occurs twice.

    In one item, this is a warning. In two items, it is an error: a query's nearest neighbour would
    be itself, in the other item, and training could push the picture away from itself.
    """
    if picture.item_id == first.item_id:
        line = f"same {same} as {first.filename} of this item; remove one"
        return Problem("repeated", line, picture.item_id, picture.filename)
    line = f"same {same} as {first.filename} of item {first.item_id}; merge the items or remove one"
    return Problem("shared", line, picture.item_id, picture.filename)


def _try_decode(file: _PictureFile) -> str | None:
    """Return why a file cannot be decoded, or None; set the `digest` of a remote file."""
    source = cache_file(file.file)
    try:
        # Decoding a JPEG at a reduced scale is faster, but still reads the whole file.
        open_picture(source, longest_side=1)
    except PictureError as error:
        return str(error)
    if isinstance(source, RemoteFile):
        file.digest = _compute_digest(source)
    return None


def _find_equal_bytes(files: Sequence[_PictureFile]) -> Iterator[Problem]:
    """Find files with equal bytes, comparing only files of equal size."""
    by_size = _group(files, [file.size for file in files])
    candidates = [file for group in by_size if len(group) > 1 for file in group]
    digests = _map_with_progress(
        lambda file: file.digest or _compute_digest(file.file), candidates, "comparing"
    )
    for group in _group(candidates, digests):
        for file in group[1:]:
            yield _duplicate_problem(file.pictures[0], group[0].pictures[0], "bytes")


def _compute_digest(file: File) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _group(values: Iterable[T], keys: Iterable[Hashable]) -> list[list[T]]:
    """Group values with equal keys, in order of first appearance."""
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for value, key in zip(values, keys, strict=True):
        groups[key].append(value)
    return list(groups.values())


def _map_with_progress(
    function: Callable[[_PictureFile], T], files: Sequence[_PictureFile], description: str
) -> list[T]:
    """Call a function on each file in a thread pool, and show a progress bar."""
    threads = count_reader_threads(file.file for file in files)
    results = []
    with (
        closing(map_in_threads(function, files, 1024, threads)) as generator,
        progress_bar(description, len(files)) as bar,
    ):
        for result in generator:
            results.append(result)
            bar.update()
    return results


def _find_item_warnings(catalogue: Catalogue) -> Iterator[Problem]:
    for item_id, item in catalogue.items.items():
        if len(item.images) == 1:
            line = "only one picture: it can be indexed, but gives no positive pair to train on"
            yield Problem("single", line, item_id)
        if not all(map(str.strip, item.labels)):
            yield Problem("labels", "an empty label; remove it", item_id)
        if len(set(item.labels)) < len(item.labels):
            yield Problem("labels", "the same label twice; remove one", item_id)
