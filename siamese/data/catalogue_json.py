"""Parse the JSON form of a catalogue, and list all its problems."""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from siamese.errors import InputError
from siamese.utils.artefacts import require_artefact

T = TypeVar("T")


ProblemKind = Literal[
    "catalogue",  # form of the JSON file, or folder of the pictures
    "outside",  # filename that leaves image_dir
    "missing",  # no such file
    "picture",  # file that is not a usable picture
    "shared",  # same picture in two items
    "repeated",  # same picture twice in an item
    "single",  # item with a single picture
    "labels",  # empty or repeated label
]


class Problem(msgspec.Struct, frozen=True):
    """A problem of a catalogue, an item or a picture; `str` formats it as one line.

    Attributes
    ----------
    kind : str
        Kind of problem.
    problem : str
        What is wrong, and what to do.
    item_id : str or None
        The item, if the problem is one of an item or a picture.
    filename : str or None
        The picture, if the problem is one of a picture.
    """

    kind: ProblemKind
    problem: str
    item_id: str | None = None
    filename: str | None = None

    def __str__(self) -> str:
        where = []
        if self.item_id is not None:
            where.append(f"item {_quote(self.item_id)}")
        if self.filename is not None:
            where.append(f"file {_quote(self.filename)}")
        return f"{', '.join(where)}: {self.problem}" if where else self.problem


class Image(msgspec.Struct, frozen=True, gc=False):
    """Entry of an item's `images`."""

    filename: str


class Item(msgspec.Struct, frozen=True, gc=False):
    """An object of the catalogue: its pictures and its labels."""

    images: tuple[Image, ...]
    labels: tuple[str, ...] = ()


def parse_catalogue(
    data: bytes,
) -> tuple[dict[str, msgspec.Raw], dict[str, Item], list[Problem]]:
    """Parse the JSON form of a catalogue.

    Parameters
    ----------
    data : bytes
        Content of the JSON file.

    Returns
    -------
    raw : dict of str to msgspec.Raw
        JSON of each item, by item id.
    items : dict of str to Item
        The items, by item id; without the invalid pictures and labels.
    problems : list of Problem
        All problems.
    """
    try:
        text, data = decode_text(data)
        raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except InputError as error:
        return {}, {}, [Problem("catalogue", error.lines[0])]
    except msgspec.ValidationError as error:
        line = f"not a catalogue: {_reword(error)}; the file must be {{item_id: {{…}}, …}}"
        return {}, {}, [Problem("catalogue", line)]
    except (msgspec.DecodeError, RecursionError) as error:
        return {}, {}, [Problem("catalogue", f"not JSON: {_json_error(text, error)}")]
    if not raw:
        return {}, {}, [Problem("catalogue", "has no items")]

    problems = [
        Problem("catalogue", "the item id occurs more than once; merge the items", item_id)
        for item_id in _find_repeated_ids(data, raw)
    ]
    items: dict[str, Item] = {}
    decode = msgspec.json.Decoder(Item).decode
    for item_id, raw_item in raw.items():
        try:
            item = decode(raw_item)
        except (msgspec.DecodeError, RecursionError):
            item, item_problems = _salvage_item(item_id, raw_item)
            problems += item_problems
        else:
            if not item.images:
                problems.append(Problem("catalogue", "no pictures; add one or remove it", item_id))
        filename_problems = list(_find_filename_problems(item_id, item))
        if filename_problems:
            problems += filename_problems
            valid = tuple(
                image for image in item.images if not find_filename_problem(image.filename)
            )
            item = msgspec.structs.replace(item, images=valid)
        if problem := find_id_problem(item_id):
            problems.append(msgspec.structs.replace(problem, item_id=item_id))
        items[item_id] = item
    return raw, items, problems


def find_filename_problem(filename: str) -> Problem | None:
    """Find the problem of a filename, without looking at the disk.

    Parameters
    ----------
    filename : str
        A filename, which should be relative to `image_dir`.

    Returns
    -------
    Problem or None
        The problem; None for a valid filename.
    """
    if not filename:
        return Problem("catalogue", "empty filename")
    if any(character < " " or "\x7f" <= character < "\xa0" for character in filename):
        return Problem("catalogue", "control character in the filename; rename", filename=filename)
    if filename[0] in "/\\" or re.match(r"[A-Za-z]:[\\/]", filename):
        return Problem(
            "outside", "absolute path; filenames are relative to --image-dir", filename=filename
        )
    if posixpath.normpath(filename).split("/")[0] == "..":
        return Problem("outside", "leaves --image-dir (..)", filename=filename)
    return None


def find_id_problem(item_id: str) -> Problem | None:
    """Find the problem of an item id.

    Parameters
    ----------
    item_id : str
        An item id.

    Returns
    -------
    Problem or None
        The problem; None for a valid item id.
    """
    if not item_id.strip():
        return Problem("catalogue", "empty item id")
    if any(character < " " or "\x7f" <= character < "\xa0" for character in item_id):
        return Problem("catalogue", "control character in the item id")
    return None


def read_bytes(path: Path, form: str) -> bytes:
    """Read a file of a catalogue.

    Parameters
    ----------
    path : Path
        The file.
    form : str
        What it should be, for errors: "JSON" or "CSV".

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    InputError
        The file is missing, unreadable or a folder.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the {form} file of the catalogue") from None
    except IsADirectoryError:
        require_artefact(path, f"the {form} file of the catalogue")
        raise InputError(f"{path}: is a folder; give the {form} file of the catalogue") from None
    except OSError as error:
        raise InputError(f"{path}: unreadable ({(error.strerror or str(error)).lower()})") from None


def decode_text(data: bytes, path: Path | None = None) -> tuple[str, bytes]:
    """Decode text in any UTF encoding.

    Parameters
    ----------
    data : bytes
        The encoded text.
    path : Path, optional
        Its file, for errors.

    Returns
    -------
    text : str
        The text.
    utf8 : bytes
        The text in UTF-8, without a byte order mark.

    Raises
    ------
    InputError
        It is in another encoding.
    """
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"{path}: " if path else ""
        raise InputError(
            f"{where}not {encoding.upper()} text (line {line}); save it as UTF-8"
        ) from None
    return text, data if encoding == "utf-8" else text.encode()


def _find_filename_problems(item_id: str, item: Item) -> Iterator[Problem]:
    for image in item.images:
        filename = image.filename
        # A fast test, which all that `find_filename_problem` rejects meets, and little else.
        if (
            not filename
            or ".." in filename
            or filename[0] in "/\\"
            or filename[1:2] == ":"
            or not filename.isprintable()
        ) and (problem := find_filename_problem(filename)):
            yield msgspec.structs.replace(problem, item_id=item_id)


def _salvage_item(item_id: str, raw_item: msgspec.Raw) -> tuple[Item, list[Problem]]:
    """Parse an invalid item: return its valid pictures and labels, and all its problems."""
    problems: list[str] = []

    def decode_list(raw: msgspec.Raw, kind: type[T], field: str) -> tuple[T, ...]:
        valid = []
        try:
            for index, element in enumerate(msgspec.json.decode(raw, type=list[msgspec.Raw])):
                try:
                    valid.append(msgspec.json.decode(element, type=kind))
                except (msgspec.DecodeError, RecursionError) as error:
                    problems.append(_reword(error, f"{field}[{index}]"))
        except (msgspec.DecodeError, RecursionError) as error:
            problems.append(_reword(error, field))
        return tuple(valid)

    item = Item(images=())
    try:
        fields = msgspec.json.decode(raw_item, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        problems.append(_reword(error))
    else:
        empty = msgspec.Raw(b"[]")
        images, labels = fields.get("images", empty), fields.get("labels", empty)
        if "images" not in fields:
            problems.append("no pictures: `images` is missing")
        item = Item(decode_list(images, Image, "images"), decode_list(labels, str, "labels"))
        if not problems:
            problems.append("not a valid item")
    return item, [Problem("catalogue", problem, item_id) for problem in problems]


def _find_repeated_ids(data: bytes, raw: Mapping[str, msgspec.Raw]) -> list[str]:
    """Find item ids that occur more than once, of which a JSON decoder keeps the last.

    Without repetition, the minified file is exactly as long as its keys and values together. Only
    if it is longer is the file decoded again, which is slow.
    """
    ids = json.dumps(list(raw), ensure_ascii=data.isascii(), separators=(",", ":")).encode()
    values = msgspec.json.format(msgspec.json.encode(list(raw.values())), indent=-1)
    if len(msgspec.json.format(data, indent=-1)) == len(ids) + len(values) - 1:
        return []
    counts = Counter(item_id for item_id, _ in json.loads(data, object_pairs_hook=list))
    return [item_id for item_id, count in counts.items() if count > 1]


def _json_error(text: str, error: Exception) -> str:
    """Explain why a text is not JSON: the standard library's error has the line."""
    if not text.strip():
        return "the file is empty"
    try:
        json.loads(text)
    except json.JSONDecodeError as located:
        return f"line {located.lineno}, column {located.colno}: {located.msg}"
    except RecursionError:
        return "nested too deeply"
    if re.search(r"\\u[dD][89a-fA-F]", text):
        return r"half a character (a lone \ud800 to \udfff)"
    return str(error)  # the standard library accepts it, such as NaN


def _reword(error: Exception, where: str = "") -> str:
    """Reword a decoder's error as ``images[2].filename: expected str, …``."""
    message = str(error)
    if found := re.fullmatch(r"(.*) - at `\$(.*)`", message):
        message, where = found[1], where + found[2]
    message = re.sub(r"`(\w+)`", r"\1", message).replace("array", "list")
    message = message[0].lower() + message[1:]
    return f"{where}: {message}" if where else message


def _quote(name: str) -> str:
    """Return a name, as a Python literal if it is empty or not printable."""
    return name if name and name.isprintable() else repr(name)
