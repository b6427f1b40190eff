"""Parse the JSON form of a catalogue, and list all its problems."""

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

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")

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
    """Problem of a catalogue, an item or a picture; `str` formats it as one line."""

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


class Item(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Pictures and labels of an object."""

    images: tuple[Image, ...]
    labels: tuple[str, ...] = ()


def parse_catalogue(
    data: bytes,
) -> tuple[dict[str, msgspec.Raw], dict[str, Item], list[Problem]]:
    """Parse a catalogue into each item's JSON, its valid pictures and labels, and all problems."""
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
        found = [find_filename_problem(image.filename, item_id) for image in item.images]
        if any(found):
            problems += filter(None, found)
            valid = (image for image, wrong in zip(item.images, found, strict=True) if not wrong)
            item = msgspec.structs.replace(item, images=tuple(valid))
        if problem := find_id_problem(item_id):
            problems.append(problem)
        items[item_id] = item
    return raw, items, problems


def find_filename_problem(filename: str, item_id: str | None = None) -> Problem | None:
    """Return the problem of a filename, without a look at the disk; None if it is valid."""
    # A fast test, which nearly all filenames pass: a catalogue may have millions.
    if (
        filename.isprintable()
        and filename[:1] not in ("", "/", "\\")
        and filename[1:2] != ":"
        and ".." not in filename
    ):
        return None
    if not filename:
        return Problem("catalogue", "empty filename", item_id)
    if _CONTROL_CHARACTER.search(filename):
        return Problem("catalogue", "control character in the filename; rename", item_id, filename)
    if filename[0] in "/\\" or re.match(r"[A-Za-z]:[\\/]", filename):
        line = "absolute path; filenames are relative to --image-dir"
        return Problem("outside", line, item_id, filename)
    if posixpath.normpath(filename).split("/")[0] == "..":
        return Problem("outside", "leaves --image-dir (..)", item_id, filename)
    return None


def find_id_problem(item_id: str) -> Problem | None:
    """Return the problem of an item id; None if it is valid."""
    if not item_id.strip():
        return Problem("catalogue", "empty item id", item_id)
    if _CONTROL_CHARACTER.search(item_id):
        return Problem("catalogue", "control character in the item id", item_id)
    return None


def read_bytes(path: Path, form: str) -> bytes:
    """Read the file of a catalogue in the form "JSON" or "CSV"."""
    expected = f"the {form} file of the catalogue"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give {expected}") from None
    except IsADirectoryError:
        require_artefact(path, expected)
        raise InputError(f"{path}: is a folder; give {expected}") from None
    except OSError as error:
        raise InputError(f"{path}: unreadable ({(error.strerror or str(error)).lower()})") from None


def decode_text(data: bytes, path: Path | None = None) -> tuple[str, bytes]:
    """Return text in any UTF encoding as str, and as UTF-8 without a byte order mark."""
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
    """Find item ids that occur more than once; of these, `raw` has only the last.

    Without them, the minified file is as long as the ids and values of `raw` together. If it is
    longer, decode the file again, which is slow.
    """
    ids = json.dumps(list(raw), ensure_ascii=data.isascii(), separators=(",", ":")).encode()
    values = msgspec.json.format(msgspec.json.encode(list(raw.values())), indent=-1)
    if len(msgspec.json.format(data, indent=-1)) == len(ids) + len(values) - 1:
        return []
    counts = Counter(item_id for item_id, _ in json.loads(data, object_pairs_hook=list))
    return [item_id for item_id, count in counts.items() if count > 1]


def _json_error(text: str, error: Exception) -> str:
    """Explain why a text is not JSON; the standard library's error, not msgspec's, has the line."""
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
    return str(error)  # for NaN and the like, which the standard library accepts


def _reword(error: Exception, where: str = "") -> str:
    """Reword a msgspec error as ``images[2].filename: expected str, …``."""
    message = str(error)
    if found := re.fullmatch(r"(.*) - at `\$(.*)`", message):
        message, where = found[1], where + found[2]
    message = re.sub(r"`(\w+)`", r"\1", message).replace("array", "list")
    message = message[0].lower() + message[1:]
    return f"{where}: {message}" if where else message


def _quote(name: str) -> str:
    """Return a name, as a Python literal if it is empty or not printable."""
    return name if name and name.isprintable() else repr(name)
