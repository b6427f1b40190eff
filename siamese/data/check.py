"""What is wrong with a catalogue and its pictures, all of it at once.

`quick_check` looks at names and folder entries only and runs before training and indexing;
`check_catalogue` also decodes every picture and compares the bytes of files of one size.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from siamese.data.catalogue import Catalogue, Picture, read_with_problems
from siamese.data.catalogue_json import Kind, Problem
from siamese.data.images import PictureError, open_picture
from siamese.data.remote_cache import cache_file
from siamese.data.remote_files import (
    File,
    Place,
    RemoteFile,
    RemoteFolder,
    count_reader_threads,
    stat_files,
)
from siamese.utils.progress import progress_bar
from siamese.utils.text import pluralize
from siamese.utils.threads import map_in_threads

T = TypeVar("T")

WARNINGS: Final[frozenset[Kind]] = frozenset({"repeated", "single", "labels"})
"""Kinds that stop nothing."""

SKIPPABLE: Final[frozenset[Kind]] = frozenset({"missing", "picture"})
"""Kinds of errors that cost one picture each, where a caller may go on without it."""


class Report(msgspec.Struct, frozen=True):
    """Every problem of a catalogue; its kind decides whether it is an error or a warning."""

    problems: list[Problem]
    items: int
    pictures: int

    @property
    def errors(self) -> list[Problem]:
        """What must be put right."""
        return [problem for problem in self.problems if problem.kind not in WARNINGS]

    @property
    def fatal(self) -> list[Problem]:
        """The errors that remain where single pictures may be skipped."""
        return [problem for problem in self.errors if problem.kind not in SKIPPABLE]

    @property
    def warnings(self) -> list[Problem]:
        """What may be meant."""
        return [problem for problem in self.problems if problem.kind in WARNINGS]

    def __str__(self) -> str:
        counts = (
            (self.items, "item"),
            (self.pictures, "picture"),
            (len(self.errors), "error"),
            (len(self.warnings), "warning"),
        )
        return ", ".join(pluralize(count, noun) for count, noun in counts)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `items`, `pictures`, `errors` and `warnings`."""
        return {
            "items": self.items,
            "pictures": self.pictures,
            "errors": [msgspec.to_builtins(problem) for problem in self.errors],
            "warnings": [msgspec.to_builtins(problem) for problem in self.warnings],
        }


def check_catalogue(labeled_data: str | os.PathLike[str], image_dir: Place | None = None) -> Report:
    """Check everything: the form, the names, the files, the pictures and their bytes.

    Parameters
    ----------
    labeled_data : the JSON file
    image_dir : the folder of the pictures, a path or a URL; by default the folder of `labeled_data`

    Raises
    ------
    InputError
        If there is no file to read. All else is in the report.
    """
    catalogue, problems = read_with_problems(labeled_data, image_dir)
    if catalogue.items:
        files, found = _survey(catalogue, thorough=True)
        decoded = _all_done(_decoded, files, "decoding")
        problems += found
        problems += [
            Problem("picture", reason, picture.item_id, picture.filename)
            for file, (reason, _) in zip(files, decoded, strict=True)
            if reason
            for picture in file.pictures
        ]
        sound = [
            msgspec.structs.replace(file, digest=digest)
            for file, (reason, digest) in zip(files, decoded, strict=True)
            if not reason
        ]
        problems += _same_bytes(sound)
        problems += _item_warnings(catalogue)
    return Report(problems, len(catalogue.items), len(catalogue.pictures))


def quick_check(catalogue: Catalogue) -> Report:
    """Check names, labels and folder entries; no picture is opened.

    Finds paths that leave `image_dir` (through links too), missing and empty files, the same
    file under two items (however its path is spelled or linked), and what only earns a warning.
    Of a server that lists nothing, only some pictures are asked for.
    """
    _, problems = _survey(catalogue, thorough=False)
    problems += _item_warnings(catalogue)
    return Report(problems, len(catalogue.items), len(catalogue.pictures))


SAMPLE = 64
"""So many pictures, at most, a server that lists nothing is asked for, to see that one is there."""


class _File(msgspec.Struct, frozen=True):
    """A regular file inside `image_dir`, and the pictures of the catalogue that name it."""

    path: str | RemoteFile
    size: int
    pictures: list[Picture]
    digest: bytes | None = None

    @property
    def file(self) -> Path | RemoteFile:
        """What can be opened."""
        return self.path if isinstance(self.path, RemoteFile) else Path(self.path)


class _Folder:
    """The folder of the pictures, links resolved, each folder in it only once."""

    def __init__(self, image_dir: Path) -> None:
        self._root = os.path.realpath(image_dir)
        self._inside = self._root.rstrip("/") + "/"
        self._folders = {"": self._root}

    def look_up(self, filename: str) -> tuple[str, os.stat_result]:
        """The real path of a file in it, and its entry.

        Raises
        ------
        _FileError
            If it leaves the folder, or is missing or no regular file.
        """
        # Strings, not Path, which would take most of the time for a million pictures.
        parent, _, name = posixpath.normpath(filename).rpartition("/")
        path = f"{self._real(parent)}/{name}"
        failure: _FileError | None = None
        try:
            entry = os.lstat(path)
            if stat.S_ISLNK(entry.st_mode):
                path = os.path.realpath(path)
                entry = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            hint = "; write / between folders" if "\\" in filename else ""
            failure = _FileError("missing", f"file missing{hint}")
        except OSError as error:
            failure = _FileError("picture", f"unreadable ({(error.strerror or '').lower()})")
        # First, for whether a place outside holds a file is nobody's business either.
        if not path.startswith(self._inside):
            raise _FileError("outside", f"leaves --image-dir (a link to {path})")
        if failure:
            raise failure
        if stat.S_ISDIR(entry.st_mode):
            raise _FileError("picture", "is a folder")
        if not stat.S_ISREG(entry.st_mode):
            raise _FileError("picture", "not a regular file")
        if not entry.st_size:
            raise _FileError("picture", "empty file")
        return path, entry

    def _real(self, folder: str) -> str:
        if folder not in self._folders:
            path = self._root
            for name in folder.split("/"):
                path = f"{path}/{name}"
                if os.path.islink(path):  # noqa: PTH114
                    path = os.path.realpath(path)
            self._folders[folder] = path
        return self._folders[folder]


class _FileError(Exception):
    def __init__(self, kind: Kind, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind
        self.problem = problem


def _survey(catalogue: Catalogue, *, thorough: bool) -> tuple[list[_File], list[Problem]]:
    """Look every file up; what stands in the way of decoding it."""
    if isinstance(catalogue.image_dir, RemoteFolder):
        return _survey_of_remote(catalogue, catalogue.image_dir, thorough)
    if not catalogue.image_dir.is_dir():
        line = f"{catalogue.image_dir}: no such folder; give the right --image-dir"
        return [], [Problem("catalogue", line)]
    folder = _Folder(catalogue.image_dir)
    files: dict[tuple[int, int], _File] = {}
    problems: list[Problem] = []
    for picture in catalogue.pictures:
        try:
            path, entry = folder.look_up(picture.filename)
        except _FileError as found:
            problems.append(Problem(found.kind, found.problem, picture.item_id, picture.filename))
            continue
        # By inode: `a.jpg`, `x/../a.jpg` and links of either sort are one file.
        identity = entry.st_dev, entry.st_ino
        if identity in files:
            first = files[identity].pictures[0]
            problems.append(_double(picture, first, "file"))
            files[identity].pictures.append(picture)
        else:
            files[identity] = _File(path, entry.st_size, [picture])
    return list(files.values()), [*_none_there(catalogue, problems, files.values()), *problems]


def _survey_of_remote(
    catalogue: Catalogue, folder: RemoteFolder, thorough: bool
) -> tuple[list[_File], list[Problem]]:
    folder.reset_listing()
    files: dict[str, _File] = {}
    problems: list[Problem] = []
    pictures: dict[str, Picture] = {}
    for picture in catalogue.pictures:
        pictures.setdefault(posixpath.normpath(picture.filename), picture)
    paths = [folder / name for name in pictures]
    ask = thorough or not folder.is_http  # those that can be listed take no request each
    sizes = None
    if ask:
        threads = count_reader_threads(paths)
        sizes = [found and found.st_size for found in stat_files(paths, threads)]
    if sizes is None and not _any_there(paths):
        line = f"none of {pluralize(min(SAMPLE, len(paths)), 'picture')} asked for is in {folder}"
        return [], [Problem("catalogue", f"{line}; give the right --image-dir")]
    for place, (name, picture) in enumerate(pictures.items()):
        size = -1 if sizes is None else sizes[place]
        if size:
            files[name] = _File(paths[place], size, [])
        else:
            kind: Kind = "missing" if size is None else "picture"
            line = "file missing" if size is None else "empty file"
            problems.append(Problem(kind, line, picture.item_id, picture.filename))
    for picture in catalogue.pictures:
        file = files.get(posixpath.normpath(picture.filename))
        if file is not None:
            if file.pictures:
                problems.append(_double(picture, file.pictures[0], "file"))
            file.pictures.append(picture)
    return list(files.values()), [*_none_there(catalogue, problems, files.values()), *problems]


def _any_there(paths: Sequence[RemoteFile]) -> bool:
    """Whether one of some is there, without asking for all."""
    some = paths[:: -(-len(paths) // SAMPLE)]
    with closing(stat_files(some, count_reader_threads(some))) as found:
        return any(one is not None for one in found)


def _none_there(
    catalogue: Catalogue, problems: Sequence[Problem], files: Collection[_File]
) -> Iterator[Problem]:
    if problems and not files and all(problem.kind == "missing" for problem in problems):
        line = f"none of the pictures is in {catalogue.image_dir}; give the right --image-dir"
        yield Problem("catalogue", line)


def _double(picture: Picture, first: Picture, what: str) -> Problem:
    """One picture twice.

    Under two items it is an error even where they share a label: it is then its own nearest
    neighbour under a wrong name, which no figure survives, and without a common label training
    would push it away from itself. Within an item it merely counts twice.
    """
    if picture.item_id == first.item_id:
        line = f"same {what} as {first.filename} of this item; remove one"
        return Problem("repeated", line, picture.item_id, picture.filename)
    line = f"same {what} as {first.filename} of item {first.item_id}; merge the items or remove one"
    return Problem("shared", line, picture.item_id, picture.filename)


def _decoded(file: _File) -> tuple[str | None, bytes | None]:
    """Why it is no picture; and the digest of one that was downloaded to see that."""
    source = cache_file(file.file)
    try:
        # A JPEG at its smallest scale is still read to its end.
        open_picture(source, longest_side=1)
    except PictureError as error:
        return str(error), None
    return None, _digest_of(source) if isinstance(source, RemoteFile) else None


def _same_bytes(files: Sequence[_File]) -> Iterator[Problem]:
    """Only files of one size are read again, and no remote one."""
    by_size = _grouped(files, [file.size for file in files])
    suspects = [file for group in by_size if len(group) > 1 for file in group]
    for group in _grouped(suspects, _all_done(_digest, suspects, "comparing")):
        for file in group[1:]:
            yield _double(file.pictures[0], group[0].pictures[0], "bytes")


def _digest(file: _File) -> bytes:
    return file.digest or _digest_of(file.file)


def _digest_of(file: File) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _grouped(values: Iterable[T], keys: Iterable[Hashable]) -> list[list[T]]:
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for value, key in zip(values, keys, strict=True):
        groups[key].append(value)
    return list(groups.values())


def _all_done(work: Callable[[_File], T], values: Sequence[_File], what: str) -> list[T]:
    threads = count_reader_threads(file.file for file in values)
    done: list[T] = []
    with (
        closing(map_in_threads(work, values, 1024, threads)) as results,
        progress_bar(what, len(values)) as bar,
    ):
        for result in results:
            done.append(result)
            bar.update()
    return done


def _item_warnings(catalogue: Catalogue) -> Iterator[Problem]:
    for item_id, item in catalogue.items.items():
        if len(item.images) == 1:
            line = "a single picture: can be indexed, but makes no positive pair to train on"
            yield Problem("single", line, item_id)
        if item.labels:
            if not all(map(str.strip, item.labels)):
                yield Problem("labels", "an empty label; remove it", item_id)
            if len(set(item.labels)) < len(item.labels):
                yield Problem("labels", "the same label twice; remove one", item_id)
