"""Catalogues of labelled data: items with their pictures and labels, in a JSON file.

.. code-block:: json

    {"item_id": {"images": [{"filename": "relative/path.jpg"}], "labels": ["red"]}}

Filenames are relative to the folder `image_dir`. Items may have extra keys, which `split` and
`write` preserve. This module does not open the pictures; `siamese.data.check` does.
"""

from __future__ import annotations

import os
import posixpath
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from siamese.data.catalogue_csv import parse_csv
from siamese.data.catalogue_json import Image, Item, Problem, parse_catalogue, read_bytes
from siamese.data.images import picture_suffixes
from siamese.data.remote_files import File, Folder, Place, as_folder
from siamese.errors import InputError
from siamese.utils.artefacts import Artefact, describe_artefact, require_artefact
from siamese.utils.files import atomic_path, walk_visible_files
from siamese.utils.text import pluralize


class Picture(msgspec.Struct, frozen=True, gc=False):
    """Picture of an item, with a `filename` relative to the catalogue's `image_dir`."""

    item_id: str
    filename: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """Picture that was skipped because it cannot be used, and the reason."""

    item_id: str
    filename: str
    reason: str


class Catalogue:
    """Collection of items. Create one with `read`, `from_folder` or `from_csv`.

    Attributes
    ----------
    items : mapping of str to Item
        Each item's `images` and `labels`, by item id, in file order.
    image_dir : Path or RemoteFolder
        Folder that filenames are relative to.
    notes : list of str
        Messages about the files and empty folders that `from_folder` ignored.

    Examples
    --------
    >>> catalogue = Catalogue.read("items.json", image_dir="photos")  # doctest: +SKIP
    >>> train, test = catalogue.split()  # doctest: +SKIP
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
        text = ", ".join(pluralize(len(values), noun) for values, noun in counts)
        return f"Catalogue({text}, in {str(self.image_dir)!r})"

    @classmethod
    def read(cls, path: str | os.PathLike[str], image_dir: Place | None = None) -> Catalogue:
        """Read a JSON catalogue and validate its structure, without opening the pictures.

        Parameters
        ----------
        path : str or os.PathLike
            The JSON file.
        image_dir : str, os.PathLike or RemoteFolder, optional
            Path or URL of the folder of pictures. By default, the folder that contains `path`.

        Raises
        ------
        InputError
            If the file is unreadable or invalid, or a filename points outside `image_dir`.
        """
        catalogue, problems = read_with_problems(path, image_dir)
        if problems:
            raise InputError(f"{path}: {problem}" for problem in problems)
        return catalogue

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> Catalogue:
        """Make an unlabelled catalogue from a folder with one subfolder per item.

        Each subfolder is searched recursively. Hidden files are ignored silently. Files outside
        any subfolder and files whose suffix Pillow does not recognise are ignored too, and `notes`
        says how many. `folder` becomes the catalogue's `image_dir`.

        Raises
        ------
        InputError
            If the folder does not exist or has no items, or a name is not valid Unicode.
        """
        folder = Path(folder)
        require_artefact(folder, "a folder of pictures")
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give a folder with one subfolder per item")
        suffixes = picture_suffixes()
        items: dict[str, Item] = {}
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
                names = (file.relative_to(folder).as_posix() for file in pictures)
                items[entry.name] = Item(tuple(map(Image, names)))
            else:
                empty.append(entry.name)
        if not items:
            raise InputError(f"{folder}: no subfolder with pictures; make one subfolder per item")
        catalogue = cls._from_items(items, folder, folder)
        if ignored:
            catalogue.notes.append(
                f"{folder}: {pluralize(ignored, 'file')} ignored: not a picture, or not in the "
                "folder of an item"
            )
        if empty:
            shown = ", ".join(empty if len(empty) <= 5 else [*empty[:5], "…"])
            catalogue.notes.append(
                f"{folder}: {pluralize(len(empty), 'folder')} without pictures ignored: {shown}"
            )
        return catalogue

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], image_dir: Place | None = None) -> Catalogue:
        """Make a catalogue from a CSV file with one row per picture.

        The columns are ``item_id``, ``filename`` and, optionally, ``labels`` (separated by ``|``
        or ``;``). An item gets the labels of all its rows.

        Parameters
        ----------
        path : str or os.PathLike
            The CSV file, whose first line is a header.
        image_dir : str, os.PathLike or RemoteFolder, optional
            Path or URL of the folder of pictures. By default, the folder that contains `path`.

        Raises
        ------
        InputError
            If the file is unreadable or invalid; the message gives the numbers of invalid lines.
        """
        path = Path(path)
        require_artefact(path, "a CSV file")
        items = parse_csv(read_bytes(path, "CSV"), path)
        return cls._from_items(items, as_folder(image_dir or path.parent), path)

    @classmethod
    def _from_items(cls, items: Mapping[str, Item], image_dir: Folder, source: Path) -> Catalogue:
        """Make a catalogue from items built in memory, encoding them as JSON to validate them."""
        try:
            raw, items, problems = parse_catalogue(msgspec.json.encode(items))
        except UnicodeEncodeError as error:
            name = error.object.encode("ascii", "backslashreplace").decode()
            raise InputError(f"{source}: the name {name} is not valid Unicode; rename it") from None
        if problems:
            raise InputError(f"{source}: {problem}" for problem in problems)
        return cls(raw, items, image_dir)

    @cached_property
    def pictures(self) -> list[Picture]:
        """All pictures, in file order."""
        return [
            Picture(item_id, image.filename, item.labels)
            for item_id, item in self.items.items()
            for image in item.images
        ]

    def path_of(self, picture: Picture) -> File:
        """Return the path of a picture, resolving ``..`` without following symbolic links."""
        return self.image_dir / posixpath.normpath(picture.filename)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the catalogue as JSON, one item per line, keeping the items' extra keys.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        lines = [msgspec.json.encode(key) + b": " + bytes(raw) for key, raw in self._raw.items()]
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"{\n" + b",\n".join(lines) + b"\n}\n")

    def split(self, train: float = 0.7, seed: int = 0) -> tuple[Catalogue, Catalogue]:
        """Split the items into two disjoint catalogues, stratified by label.

        The split does not depend on the order of the items in the file.

        Parameters
        ----------
        train : float, default=0.7
            Fraction of the items that go to the first catalogue, between 0 and 1 (exclusive).

        Returns
        -------
        train, test : Catalogue
            `train` has ``round(train * n)`` of the n items, except that neither is ever empty.

        Raises
        ------
        InputError
            If `train` is not between 0 and 1, or there are fewer than two items.
        """
        if not 0 < train < 1:
            raise InputError(f"train: {train} is not a share between 0 and 1, such as 0.7")
        count = len(self.items)
        if count < 2:
            raise InputError("a catalogue with a single item cannot be split; add items")
        target = min(max(round(train * count), 1), count - 1)
        # Systematic sampling: items with the same labels are adjacent in this order, and the picks
        # are evenly spaced, so about the same fraction of every run of items is picked.
        chosen = {
            item_id
            for position, item_id in enumerate(self._stratified_order(seed))
            if (position + 1) * target // count > position * target // count
        }
        return self._select(chosen), self._select(self.items.keys() - chosen)

    def _stratified_order(self, seed: int) -> list[str]:
        """Sort item ids by the item's rarest label, then by its next rarest, then randomly.

        Rare labels come first because they are the hardest to split evenly. Labels that only one
        item has are ignored.
        """
        rng = random.Random(seed)
        counts = Counter(label for item in self.items.values() for label in set(item.labels))
        shared = sorted(label for label, count in counts.items() if count > 1)
        rng.shuffle(shared)
        rank = {label: place for place, label in enumerate(sorted(shared, key=counts.__getitem__))}
        chance = {item_id: rng.random() for item_id in sorted(self.items)}

        def sort_key(item_id: str) -> tuple[list[int], float]:
            labels = set(self.items[item_id].labels)
            return sorted(rank[label] for label in labels if label in rank), chance[item_id]

        return sorted(self.items, key=sort_key)

    def _select(self, item_ids: set[str]) -> Catalogue:
        """Return a catalogue of the given items, in file order."""
        items = {item_id: item for item_id, item in self.items.items() if item_id in item_ids}
        raw = {item_id: self._raw[item_id] for item_id in items}
        return Catalogue(raw, items, self.image_dir)


def read_with_problems(
    path: str | os.PathLike[str], image_dir: Place | None = None
) -> tuple[Catalogue, list[Problem]]:
    """Read the valid items of a JSON catalogue, and list all structural problems."""
    path = Path(path)
    raw, items, problems = parse_catalogue(read_bytes(path, "JSON"))
    if not any(item.images for item in items.values()):
        described = describe_artefact(path, other_than=(Artefact.LABELED_DATA,))
        if described is not None:
            problems = [Problem("catalogue", f"not labelled data but {described}")]
    return Catalogue(raw, items, as_folder(image_dir or path.parent)), problems
