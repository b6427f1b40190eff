"""Parser for JSON catalogues that reports all problems at once."""

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
    "catalogue",  # invalid JSON file or wrong image_dir
    "outside",  # filename that points outside image_dir
    "missing",  # file that does not exist
    "picture",  # file that is not a usable picture
    "shared",  # same picture in two items
    "repeated",  # same picture twice in one item
    "single",  # item with only one picture
    "labels",  # empty or repeated label
]


class Problem(msgspec.Struct, frozen=True):
    """Problem with a catalogue, an item or a picture; `str` formats it as one line."""

    kind: ProblemKind
    problem: str
    item_id: str | None = None
    filename: str | None = None

    def __str__(self) -> str:
        where = ", ".join(
            f"{noun} {name if name and name.isprintable() else repr(name)}"
            for noun, name in (("item", self.item_id), ("file", self.filename))
            if name is not None
        )
        return f"{where}: {self.problem}" if where else self.problem


class Image(msgspec.Struct, frozen=True, gc=False):
    """Entry in an item's `images` list."""

    filename: str


class Item(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Pictures and labels of one item."""

    images: tuple[Image, ...]
    labels: tuple[str, ...] = ()


def parse_catalogue(
    data: bytes,
) -> tuple[dict[str, msgspec.Raw], dict[str, Item], list[Problem]]:
    """Return each item's raw JSON, each item's valid pictures and labels, and all problems."""
    try:
        text = decode_text(data)
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except InputError as error:
        failure = error.lines[0]
    except msgspec.ValidationError as error:
        failure = f"not a catalogue: {_reword(error)}; the file must be {{item_id: {{…}}, …}}"
    except (msgspec.DecodeError, RecursionError) as error:
        failure = f"not JSON: {_explain_json_error(text, error)}"
    else:
        failure = "" if raw else "has no items"
    if failure:
        return {}, {}, [Problem("catalogue", failure)]

    problems = [
        Problem("catalogue", "the item id occurs more than once; merge the items", item_id)
        for item_id in _find_repeated_ids(text, raw)
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
    """Return what is wrong with a filename, or None if it is valid; the disk is not accessed."""
    # Fast path for nearly all filenames, because a catalogue may have millions.
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
    """Return what is wrong with an item id, or None if it is valid."""
    if not item_id.strip():
        return Problem("catalogue", "empty item id", item_id)
    if _CONTROL_CHARACTER.search(item_id):
        return Problem("catalogue", "control character in the item id", item_id)
    return None


def read_bytes(path: Path, form: str) -> bytes:
    """Read a catalogue file; error messages name its format, `form`: "JSON" or "CSV"."""
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


def decode_text(data: bytes, path: Path | None = None) -> str:
    """Decode UTF-8, UTF-16 or UTF-32 text, with or without a byte order mark."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"{path}: " if path else ""
        raise InputError(
            f"{where}not {encoding.upper()} text (line {line}); save it as UTF-8"
        ) from None


def _salvage_item(item_id: str, raw_item: msgspec.Raw) -> tuple[Item, list[Problem]]:
    """Return the valid pictures and labels of an invalid item, and the item's problems."""
    problems: list[str] = []

    def decode(raw: msgspec.Raw | bytes, kind: type[T], where: str = "") -> T | None:
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            problems.append(_reword(error, where))
            return None

    def decode_list(field: str, kind: type[T]) -> tuple[T, ...]:
        elements = decode(fields.get(field, b"[]"), list[msgspec.Raw], field) or []
        decoded = [decode(raw, kind, f"{field}[{place}]") for place, raw in enumerate(elements)]
        return tuple(element for element in decoded if element is not None)

    fields = decode(raw_item, dict[str, msgspec.Raw]) or {}
    if "images" not in fields and not problems:
        problems.append("no pictures: `images` is missing")
    item = Item(decode_list("images", Image), decode_list("labels", str))
    lines = problems or ["not a valid item"]
    return item, [Problem("catalogue", line, item_id) for line in lines]


def _find_repeated_ids(text: str, raw: Mapping[str, msgspec.Raw]) -> list[str]:
    """Find item ids that occur more than once, which the dict `raw` cannot show.

    If no id is repeated, the minified file is as long as the minified keys and values of `raw`
    together. Only if the lengths differ is the file decoded again, which is slow.
    """
    ids = json.dumps(list(raw), ensure_ascii=text.isascii(), separators=(",", ":"))
    values = msgspec.json.format(msgspec.json.encode(list(raw.values())).decode(), indent=-1)
    if len(msgspec.json.format(text, indent=-1)) == len(ids) + len(values) - 1:
        return []
    counts = Counter(item_id for item_id, _ in json.loads(text, object_pairs_hook=list))
    return [item_id for item_id, count in counts.items() if count > 1]


def _explain_json_error(text: str, error: Exception) -> str:
    """Explain why a text is not JSON, with the line number, which msgspec does not report."""
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
    return str(error)  # such as NaN, which the standard library accepts


def _reword(error: Exception, where: str = "") -> str:
    """Reword a msgspec error in the style ``images[2].filename: expected str, …``."""
    message = str(error)
    if found := re.fullmatch(r"(.*) - at `\$(.*)`", message):
        message, where = found[1], where + found[2]
    message = re.sub(r"`(\w+)`", r"\1", message).replace("array", "list")
    message = message[0].lower() + message[1:]
    return f"{where}: {message}" if where else message
