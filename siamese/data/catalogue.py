"""Labelled data: items, their pictures and their labels, in one JSON file.

.. code-block:: json

    {"item_id": {"images": [{"filename": "relative/path.jpg"}], "labels": ["red"]}}

Filenames are relative to a folder, `image_dir`. Further keys are allowed, and kept in what is
written. No picture is touched here: `siamese.data.check` looks at the files.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from siamese.data.catalogue_json import (
    Item,
    Problem,
    decode_text,
    find_filename_problem,
    find_id_problem,
    parse,
    read_bytes,
)
from siamese.data.images import picture_suffixes
from siamese.data.remote_files import (
    File,
    Folder,
    Place,
    as_folder,
)
from siamese.errors import InputError
from siamese.utils.artefacts import Artefact, describe_artefact, require_artefact
from siamese.utils.files import atomic_path, walk_visible_files
from siamese.utils.text import pluralize


class Picture(msgspec.Struct, frozen=True, gc=False):
    """One picture of an item; `filename` is relative to the catalogue's `image_dir`."""

    item_id: str
    filename: str
    labels: tuple[str, ...] = ()


class Catalogue:
    """Items with their pictures and labels.

    Made by `read`, `from_folder` or `from_csv`.

    Attributes
    ----------
    items : item id to `Item`, in file order
    image_dir : the folder that filenames are relative to; see `siamese.data.remote_files` for one that is not
        on this machine
    notes : lines for the user on what a conversion left out
    """

    def __init__(
        self, raw: Mapping[str, msgspec.Raw], items: Mapping[str, Item], image_dir: Folder
    ) -> None:
        self._raw = raw
        self.items = items
        self.image_dir = image_dir
        self.notes: list[str] = []

    def __repr__(self) -> str:
        labels = {label for item in self.items.values() for label in item.labels}
        counts = ((self.items, "item"), (self.pictures, "picture"), (labels, "label"))
        said = ", ".join(pluralize(len(things), noun) for things, noun in counts)
        return f"Catalogue({said}, in {str(self.image_dir)!r})"

    @classmethod
    def read(cls, path: str | os.PathLike[str], image_dir: Place | None = None) -> Catalogue:
        """Read a JSON catalogue and check its form; the pictures are not touched.

        Parameters
        ----------
        path : the JSON file
        image_dir : the folder of the pictures, a path or a URL; by default the folder of `path`

        Raises
        ------
        InputError
            Listing every problem of the form, and every path that leaves `image_dir`.
        """
        path = Path(path)
        catalogue, problems = read_with_problems(path, image_dir)
        if problems:
            raise InputError(f"{path}: {problem}" for problem in problems)
        return catalogue

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> Catalogue:
        """Every folder in `folder` is an item; its pictures may lie in nested folders.

        Hidden files, and files whose suffix Pillow does not know, are left out; `notes` says
        how many.

        Raises
        ------
        InputError
            If there is no such folder, no item in it, or a name that JSON cannot hold.
        """
        folder = Path(folder)
        require_artefact(folder, "a folder of pictures")
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the one that holds a folder an item")
        suffixes = picture_suffixes()
        items: dict[str, tuple[list[str], list[str]]] = {}
        empty, ignored = [], 0
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                ignored += 1
                continue
            files = sorted(walk_visible_files(entry))
            pictures = [file for file in files if file.suffix.lower() in suffixes]
            ignored += len(files) - len(pictures)
            if pictures:
                names = [file.relative_to(folder).as_posix() for file in pictures]
                items[entry.name] = (names, [])
            else:
                empty.append(entry.name)
        if not items:
            raise InputError(f"{folder}: no folder with pictures in it; make one folder an item")
        catalogue = cls._converted(items, folder, str(folder))
        if ignored:
            catalogue.notes.append(
                f"{folder}: files left out, as no picture of an item: {ignored:,}"
            )
        if empty:
            shown = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
            catalogue.notes.append(f"{folder}: folders without a picture: {len(empty):,} ({shown})")
        return catalogue

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], image_dir: Place | None = None) -> Catalogue:
        """Convert a CSV file with the columns `item_id`, `filename` and, if you like, `labels`.

        One row a picture; labels are separated by ``|`` or ``;`` and those of an item's rows are
        united. `image_dir` is by default the folder of `path`.

        Raises
        ------
        InputError
            Listing every problem with its line.
        """
        path = Path(path)
        require_artefact(path, "a CSV file")
        text, _ = decode_text(read_bytes(path, "CSV"), path)
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        items: dict[str, tuple[list[str], list[str]]] = {}
        problems: list[str] = []
        try:
            header = [name.strip() for name in next(rows, [])]
            if lacking := {"item_id", "filename"} - set(header):
                raise InputError(
                    f"{path}: line 1: no column {' and no column '.join(sorted(lacking))}; "
                    "the header must be item_id,filename,labels"
                )
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    problems.append(
                        f"{path}: line {rows.line_num}: {len(row)} columns, "
                        f"the header has {len(header)}"
                    )
                    continue
                cells = dict(zip(header, row, strict=True))
                item_id, filename = cells["item_id"].strip(), cells["filename"].strip()
                for problem in (find_id_problem(item_id), find_filename_problem(filename)):
                    if problem:
                        problems.append(f"{path}: line {rows.line_num}: {problem.problem}")
                filenames, labels = items.setdefault(item_id, ([], []))
                filenames.append(filename)
                for label in map(str.strip, re.split(r"[|;]", cells.get("labels", ""))):
                    if label and label not in labels:
                        labels.append(label)
        except csv.Error as error:
            problems.append(f"{path}: line {rows.line_num}: {error}")
        if not items and not problems:
            problems.append(f"{path}: no rows below the header")
        if problems:
            raise InputError(problems)
        return cls._converted(items, as_folder(image_dir or path.parent), str(path))

    @classmethod
    def _converted(
        cls, items: Mapping[str, tuple[list[str], list[str]]], image_dir: Folder, source: str
    ) -> Catalogue:
        """Through the JSON form, so that one place judges what a catalogue may hold."""
        form: dict[str, dict[str, Any]] = {}
        for item_id, (filenames, labels) in items.items():
            form[item_id] = {"images": [{"filename": filename} for filename in filenames]}
            if labels:
                form[item_id]["labels"] = labels
        try:
            raw, parsed, problems = parse(msgspec.json.encode(form))
        except UnicodeEncodeError as error:
            name = error.object.encode("ascii", "backslashreplace").decode()
            raise InputError(f"{source}: the name {name} is no valid Unicode; rename it") from None
        if problems:
            raise InputError(f"{source}: {problem}" for problem in problems)
        return cls(raw, parsed, image_dir)

    @cached_property
    def pictures(self) -> list[Picture]:
        """All pictures, in file order."""
        return [
            Picture(item_id, image.filename, item.labels)
            for item_id, item in self.items.items()
            for image in item.images
        ]

    def path_of(self, picture: Picture) -> File:
        """Where a picture's file is; ``..`` is resolved by name, not through links."""
        return self.image_dir / posixpath.normpath(picture.filename)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON, an item a line, with every further key the items came with."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(
                b"{\n"
                + b",\n".join(
                    msgspec.json.encode(item_id) + b": " + bytes(raw)
                    for item_id, raw in self._raw.items()
                )
                + b"\n}\n"
            )

    def split(self, train: float = 0.7, seed: int = 0) -> tuple[Catalogue, Catalogue]:
        """Split by item into two disjoint catalogues, stratified by label.

        Exactly ``round(train * items)`` items go to the first, but both get at least one. The
        outcome depends on the items and the seed, not on their order in the file.

        Parameters
        ----------
        train : share of the items for the first catalogue, between 0 and 1
        seed : another seed, another split

        Raises
        ------
        InputError
            If `train` is no such share, or there are fewer than two items.
        """
        if not 0 < train < 1:
            raise InputError(f"train: {train} is no share between 0 and 1, such as 0.7")
        count = len(self.items)
        if count < 2:
            raise InputError("a catalogue with a single item cannot be split; add items")
        target = min(max(round(train * count), 1), count - 1)
        # Systematic sampling along strata: items with the same labels stand side by side, and
        # every stretch of the line gives its share to train, rounded at most by one.
        chosen = {
            item_id
            for place, item_id in enumerate(self._stratified_order(seed))
            if (place + 1) * target // count > place * target // count
        }
        return self._part(chosen), self._part(self.items.keys() - chosen)

    def _stratified_order(self, seed: int) -> list[str]:
        """Items by their rarest label, within that by their next rarest, within that by chance.

        A rare label has the fewest ways to be shared out fairly, so it decides first. A label
        of one item cannot be shared out at all and decides nothing.
        """
        draw = random.Random(seed)
        counts = Counter(label for item in self.items.values() for label in set(item.labels))
        shared = sorted(label for label, count in counts.items() if count > 1)
        draw.shuffle(shared)
        rank = {label: place for place, label in enumerate(sorted(shared, key=counts.__getitem__))}
        chance = {item_id: draw.random() for item_id in sorted(self.items)}

        def key(item_id: str) -> tuple[list[int], float]:
            labels = set(self.items[item_id].labels)
            return sorted(rank[label] for label in labels if label in rank), chance[item_id]

        return sorted(self.items, key=key)

    def _part(self, item_ids: set[str]) -> Catalogue:
        kept = [item_id for item_id in self.items if item_id in item_ids]
        return Catalogue(
            {item_id: self._raw[item_id] for item_id in kept},
            {item_id: self.items[item_id] for item_id in kept},
            self.image_dir,
        )


def read_with_problems(
    path: str | os.PathLike[str], image_dir: Place | None = None
) -> tuple[Catalogue, list[Problem]]:
    """Read what can be read of a catalogue, and everything that is wrong with its form.

    Raises
    ------
    InputError
        If there is no file to read.
    """
    path = Path(path)
    raw, items, problems = parse(read_bytes(path, "JSON"))
    if not any(item.images for item in items.values()):
        described = describe_artefact(path, other_than=(Artefact.LABELED_DATA,))
        if described is not None:
            problems = [Problem("catalogue", f"not labelled data but {described}")]
    return Catalogue(raw, items, as_folder(image_dir or path.parent)), problems


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be used, and why."""

    item_id: str
    filename: str
    reason: str
