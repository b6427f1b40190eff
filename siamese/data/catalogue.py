"""Catalogue of labelled data: items with their pictures and labels, in one JSON file.

.. code-block:: json

    {"item_id": {"images": [{"filename": "relative/path.jpg"}], "labels": ["red"]}}

Filenames are relative to the folder `image_dir`. Items may have further keys, which `split` and
`write` preserve. `siamese.data.check` reads the pictures; this module does not.
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
    """Picture of an item; its `filename` is relative to the catalogue's `image_dir`."""

    item_id: str
    filename: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """Picture that could not be used, and the reason."""

    item_id: str
    filename: str
    reason: str


class Catalogue:
    """Items with their pictures and labels; make one with `read`, `from_folder` or `from_csv`.

    Attributes
    ----------
    items : mapping of str to Item
        The items, by item id, in file order; each has `images` and `labels`.
    image_dir : Path or RemoteFolder
        Folder that filenames are relative to.
    notes : list of str
        Lines that say which files `from_folder` ignored.

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
        """Read a JSON catalogue and check its form, but not its pictures.

        Parameters
        ----------
        path : str or os.PathLike
            The JSON file.
        image_dir : str, os.PathLike or RemoteFolder, optional
            Folder of the pictures, a path or a URL; by default the folder of `path`.

        Raises
        ------
        InputError
            One line for each error in the form, and for each filename that leaves `image_dir`.
        """
        catalogue, problems = read_with_problems(path, image_dir)
        if problems:
            raise InputError(f"{path}: {problem}" for problem in problems)
        return catalogue

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> Catalogue:
        """Make a catalogue without labels from a folder, which has one subfolder per item.

        Pictures may lie at any depth below the folder of their item. Hidden files, and files with
        a suffix that Pillow does not know, are ignored; `notes` counts the latter. The folder
        becomes the `image_dir`.

        Raises
        ------
        InputError
            There is no such folder, it has no item, or a name is not valid Unicode.
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
            The CSV file, with a header.
        image_dir : str, os.PathLike or RemoteFolder, optional
            Folder of the pictures, a path or a URL; by default the folder of `path`.

        Raises
        ------
        InputError
            One line for each error, with its line number.
        """
        path = Path(path)
        require_artefact(path, "a CSV file")
        items = parse_csv(read_bytes(path, "CSV"), path)
        return cls._from_items(items, as_folder(image_dir or path.parent), path)

    @classmethod
    def _from_items(cls, items: Mapping[str, Item], image_dir: Folder, source: Path) -> Catalogue:
        """Make a catalogue that was not read from JSON; convert it to JSON and check it."""
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
        """Return the file of a picture; ``..`` is resolved by name, without following links."""
        return self.image_dir / posixpath.normpath(picture.filename)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the catalogue as JSON, one item per line, with all further keys of the items.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        lines = [msgspec.json.encode(key) + b": " + bytes(raw) for key, raw in self._raw.items()]
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"{\n" + b",\n".join(lines) + b"\n}\n")

    def split(self, train: float = 0.7, seed: int = 0) -> tuple[Catalogue, Catalogue]:
        """Split the items into two disjoint catalogues, stratified by label.

        The result depends on the items and the seed, not on the order of the file.

        Parameters
        ----------
        train : float, default=0.7
            Share of the items in the first catalogue, between 0 and 1.

        Returns
        -------
        train, test : Catalogue
            The first has ``round(train * items)`` items, but each has at least one.

        Raises
        ------
        InputError
            `train` is not between 0 and 1, or there are fewer than two items.
        """
        if not 0 < train < 1:
            raise InputError(f"train: {train} is not a share between 0 and 1, such as 0.7")
        count = len(self.items)
        if count < 2:
            raise InputError("a catalogue with a single item cannot be split; add items")
        target = min(max(round(train * count), 1), count - 1)
        # Systematic sampling: items with the same labels are neighbours in the order, and every
        # stretch of it gives its share of items to the first catalogue, plus or minus one.
        chosen = {
            item_id
            for position, item_id in enumerate(self._stratified_order(seed))
            if (position + 1) * target // count > position * target // count
        }
        return self._select(chosen), self._select(self.items.keys() - chosen)

    def _stratified_order(self, seed: int) -> list[str]:
        """Sort item ids by their rarest label, then by their next rarest, then randomly.

        Rare labels come first, because they are the hardest to split fairly. A label of a single
        item does not count.
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
        """Return a catalogue of some of the items, in file order."""
        items = {item_id: item for item_id, item in self.items.items() if item_id in item_ids}
        raw = {item_id: self._raw[item_id] for item_id in items}
        return Catalogue(raw, items, self.image_dir)


def read_with_problems(
    path: str | os.PathLike[str], image_dir: Place | None = None
) -> tuple[Catalogue, list[Problem]]:
    """Read the usable items of a JSON catalogue, and list all problems of its form."""
    path = Path(path)
    raw, items, problems = parse_catalogue(read_bytes(path, "JSON"))
    if not any(item.images for item in items.values()):
        described = describe_artefact(path, other_than=(Artefact.LABELED_DATA,))
        if described is not None:
            problems = [Problem("catalogue", f"not labelled data but {described}")]
    return Catalogue(raw, items, as_folder(image_dir or path.parent)), problems
