"""Parse the JSON form of a catalogue and list all that is wrong with it."""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from siamese.errors import InputError
from siamese.utils.artefacts import require_artefact

T = TypeVar("T")


Kind = Literal[
    "catalogue",  # the form of the JSON file, or the folder of the pictures
    "outside",  # a path that leaves image_dir
    "missing",  # no such file
    "picture",  # a file that is no usable picture
    "shared",  # one picture under two items
    "repeated",  # one picture twice under one item
    "single",  # an item with one picture
    "labels",  # labels that are empty or said twice
]


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a catalogue, an item of it or a picture; `str` gives one line."""

    kind: Kind
    problem: str
    item_id: str | None = None
    filename: str | None = None

    def __str__(self) -> str:
        where = []
        if self.item_id is not None:
            where.append(f"item {_shown(self.item_id)}")
        if self.filename is not None:
            where.append(f"file {_shown(self.filename)}")
        return f"{', '.join(where)}: {self.problem}" if where else self.problem


class Image(msgspec.Struct, frozen=True, gc=False):
    """One entry of an item's `images`."""

    filename: str


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing: its pictures and its coarse labels."""

    images: tuple[Image, ...]
    labels: tuple[str, ...] = ()


def parse(data: bytes) -> tuple[dict[str, msgspec.Raw], dict[str, Item], list[Problem]]:
    """Parse the JSON form: the bytes of each item, the items, and every problem.

    An item with problems keeps those of its pictures and labels that have none.
    """
    try:
        text, data = decode_text(data)
        raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except InputError as error:
        return {}, {}, [Problem("catalogue", error.lines[0])]
    except msgspec.ValidationError as error:
        line = f"not a catalogue: {_plain(error)}; the file must be {{item_id: {{…}}, …}}"
        return {}, {}, [Problem("catalogue", line)]
    except (msgspec.DecodeError, RecursionError) as error:
        return {}, {}, [Problem("catalogue", f"not JSON: {_json_error(text, error)}")]
    if not raw:
        return {}, {}, [Problem("catalogue", "holds no items")]

    problems = [
        Problem("catalogue", "the item id stands there more than once; merge the items", item_id)
        for item_id in _repeated_ids(data, raw)
    ]
    items: dict[str, Item] = {}
    decode = msgspec.json.Decoder(Item).decode
    for item_id, raw_item in raw.items():
        try:
            item = decode(raw_item)
        except (msgspec.DecodeError, RecursionError):
            item, found = _salvaged(item_id, raw_item)
            problems += found
        else:
            if not item.images:
                problems.append(Problem("catalogue", "no pictures; add one or remove it", item_id))
        bad_names = False
        for image in item.images:
            filename = image.filename
            # Everything that `find_filename_problem` objects to, and little else, but fast.
            if (
                not filename
                or ".." in filename
                or filename[0] in "/\\"
                or filename[1:2] == ":"
                or not filename.isprintable()
            ) and (problem := find_filename_problem(filename)):
                problems.append(msgspec.structs.replace(problem, item_id=item_id))
                bad_names = True
        if bad_names:
            good = tuple(
                image for image in item.images if not find_filename_problem(image.filename)
            )
            item = msgspec.structs.replace(item, images=good)
        if problem := find_id_problem(item_id):
            problems.append(msgspec.structs.replace(problem, item_id=item_id))
        items[item_id] = item
    return raw, items, problems


def _salvaged(item_id: str, raw_item: msgspec.Raw) -> tuple[Item, list[Problem]]:
    """What is usable of an item that does not have the form, and every problem of it."""
    problems: list[str] = []

    def parts(raw: msgspec.Raw, of: type[T], where: str) -> tuple[T, ...]:
        good = []
        try:
            for place, part in enumerate(msgspec.json.decode(raw, type=list[msgspec.Raw])):
                try:
                    good.append(msgspec.json.decode(part, type=of))
                except (msgspec.DecodeError, RecursionError) as error:
                    problems.append(_plain(error, f"{where}[{place}]"))
        except (msgspec.DecodeError, RecursionError) as error:
            problems.append(_plain(error, where))
        return tuple(good)

    item = Item(images=())
    try:
        fields = msgspec.json.decode(raw_item, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        problems.append(_plain(error))
    else:
        nothing = msgspec.Raw(b"[]")
        images, labels = fields.get("images", nothing), fields.get("labels", nothing)
        if "images" not in fields:
            problems.append("no pictures: `images` is not there")
        item = Item(parts(images, Image, "images"), parts(labels, str, "labels"))
        if not problems:
            problems.append("not the form of an item")
    return item, [Problem("catalogue", problem, item_id) for problem in problems]


def find_filename_problem(filename: str) -> Problem | None:
    """Return what is wrong with a filename, whatever is on the disk, or None."""
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
    """Return what is wrong with an item id, or None."""
    if not item_id.strip():
        return Problem("catalogue", "empty item id")
    if any(character < " " or "\x7f" <= character < "\xa0" for character in item_id):
        return Problem("catalogue", "control character in the item id")
    return None


def _repeated_ids(data: bytes, raw: Mapping[str, msgspec.Raw]) -> list[str]:
    """Item ids that stand in the file more than once, of which JSON keeps the last.

    Without repetition the file, white space apart, is exactly as long as its keys and values;
    only where it is longer the slow way is gone.
    """
    ids = json.dumps(list(raw), ensure_ascii=data.isascii(), separators=(",", ":")).encode()
    values = msgspec.json.format(msgspec.json.encode(list(raw.values())), indent=-1)
    if len(msgspec.json.format(data, indent=-1)) == len(ids) + len(values) - 1:
        return []
    counts = Counter(item_id for item_id, _ in json.loads(data, object_pairs_hook=list))
    return [item_id for item_id, count in counts.items() if count > 1]


def read_bytes(path: Path, form: str) -> bytes:
    """Read a file whole, or say in one line why it cannot be read."""
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
    """Return the text of some bytes and its UTF-8 form without a byte order mark."""
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


def _json_error(text: str, error: Exception) -> str:
    """Where and why the text is no JSON, by the standard library, which counts lines."""
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
    return str(error)  # what the standard library lets pass, such as NaN


def _plain(error: Exception, where: str = "") -> str:
    """A decoder's message in the words of the form: ``images[2].filename: expected str, …``."""
    message = str(error)
    if found := re.fullmatch(r"(.*) - at `\$(.*)`", message):
        message, where = found[1], where + found[2]
    message = re.sub(r"`(\w+)`", r"\1", message).replace("array", "list")
    message = message[0].lower() + message[1:]
    return f"{where}: {message}" if where else message


def _shown(name: str) -> str:
    return name if name and name.isprintable() else repr(name)
