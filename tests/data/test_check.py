from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siamese.data.catalogue import Catalogue
from siamese.data.catalogue_json import Problem
from siamese.data.check import CheckReport, check_catalogue, quick_check
from siamese.errors import InputError


def jpeg(seed: int, size: tuple[int, int] = (24, 16)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + struct.pack(">I", 0)
        + b"IEND"
        + struct.pack(">I", zlib.crc32(b"IEND"))
    )


class Shop:
    """A valid catalogue on disk, for a test to break: two items with two pictures each."""

    def __init__(self, folder: Path) -> None:
        self.outside = folder / "outside"
        self.photos = folder / "photos"
        for place in (self.outside, self.photos / "mug", self.photos / "hat"):
            place.mkdir(parents=True)
        self.path = folder / "items.json"
        self.files: dict[str, list[str]] = {}
        self.labels: dict[str, list[str]] = {}
        for seed, name in enumerate(["mug/1.jpg", "mug/2.jpg", "hat/1.jpg", "hat/2.jpg"]):
            self.put(name, jpeg(seed))
            self.add(name.split("/")[0], name)

    def put(self, name: str, data: bytes) -> None:
        (self.photos / name).write_bytes(data)

    def add(self, item_id: str, name: str) -> None:
        self.files.setdefault(item_id, []).append(name)

    def add_file(self, item_id: str, name: str, data: bytes) -> None:
        self.put(name, data)
        self.add(item_id, name)

    def write(self) -> Path:
        form = {
            item_id: {
                "images": [{"filename": name} for name in names],
                "labels": self.labels.get(item_id, []),
            }
            for item_id, names in self.files.items()
        }
        self.path.write_text(json.dumps(form))
        return self.path

    def check(self) -> CheckReport:
        return check_catalogue(self.write(), self.photos)

    def quick_check(self) -> CheckReport:
        return quick_check(Catalogue.read(self.write(), self.photos))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def lines(problems: list[object]) -> list[str]:
    return [str(problem) for problem in problems]


def test_valid_catalogue(shop: Shop) -> None:
    shop.labels["mug"] = ["red", "tea"]
    for report in (shop.check(), shop.quick_check()):
        assert report == CheckReport([], items=2, pictures=4)


def add_link(target: str) -> Callable[[Shop], None]:
    def break_it(shop: Shop) -> None:
        (shop.outside / "secret.jpg").write_bytes(jpeg(9))
        (shop.photos / "mug" / "link.jpg").symlink_to(target)
        shop.add("mug", "mug/link.jpg")

    return break_it


def link_folder(shop: Shop) -> None:
    (shop.outside / "secret.jpg").write_bytes(jpeg(9))
    (shop.photos / "side").symlink_to("../outside")
    shop.add("mug", "side/secret.jpg")
    shop.add("mug", "side/gone.jpg")


def add_hard_link(shop: Shop) -> None:
    os.link(shop.photos / "mug" / "1.jpg", shop.photos / "hat" / "3.jpg")
    shop.add("hat", "hat/3.jpg")


def add_soft_link(shop: Shop) -> None:
    (shop.photos / "hat" / "3.jpg").symlink_to("../mug/1.jpg")
    shop.add("hat", "hat/3.jpg")


def add_pipe(shop: Shop) -> None:
    os.mkfifo(shop.photos / "mug" / "pipe.jpg")
    shop.add("mug", "mug/pipe.jpg")


def remove_folder(shop: Shop) -> None:
    shop.photos = shop.photos / "gone"


def give_other_folder(shop: Shop) -> None:
    shop.photos = shop.outside


SAME_FILE = "same file as mug/1.jpg of item mug; merge the items or remove one"
# Name; how to break the catalogue; expected errors; whether `quick_check` finds them too.
BROKEN: list[tuple[str, Callable[[Shop], None], list[str], bool]] = [
    (
        "missing",
        lambda shop: shop.add("mug", "mug/3.jpg"),
        ["item mug, file mug/3.jpg: file missing"],
        True,
    ),
    (
        "missing folder",
        lambda shop: shop.add("mug", "cup/3.jpg"),
        ["item mug, file cup/3.jpg: file missing"],
        True,
    ),
    (
        "below a file",
        lambda shop: shop.add("mug", "mug/1.jpg/3.jpg"),
        ["item mug, file mug/1.jpg/3.jpg: file missing"],
        True,
    ),
    (
        "deep",
        lambda shop: shop.add("mug", "x/" * 1500 + "3.jpg"),
        [f"item mug, file {'x/' * 1500}3.jpg: file missing"],
        True,
    ),
    (
        "long",
        lambda shop: shop.add("mug", "x" * 300),
        [f"item mug, file {'x' * 300}: unreadable (file name too long)"],
        True,
    ),
    (
        "backslash",
        lambda shop: shop.add("mug", "mug\\1.jpg"),
        ["item mug, file mug\\1.jpg: file missing; write / between folders"],
        True,
    ),
    (
        "folder",
        lambda shop: shop.add("mug", "hat"),
        ["item mug, file hat: is a folder"],
        True,
    ),
    (
        "the folder itself",
        lambda shop: shop.add("mug", "."),
        ["item mug, file .: is a folder"],
        True,
    ),
    ("pipe", add_pipe, ["item mug, file mug/pipe.jpg: not a regular file"], True),
    (
        "empty",
        lambda shop: shop.add_file("mug", "mug/3.jpg", b""),
        ["item mug, file mug/3.jpg: empty file"],
        True,
    ),
    (
        "text",
        lambda shop: shop.add_file("mug", "mug/3.jpg", b"no picture"),
        ["item mug, file mug/3.jpg: not a picture"],
        False,
    ),
    (
        "truncated",
        lambda shop: shop.add_file("mug", "mug/3.jpg", jpeg(9)[:-100]),
        ["item mug, file mug/3.jpg: truncated or damaged ("],
        False,
    ),
    (
        "bomb",
        lambda shop: shop.add_file("mug", "mug/3.png", bomb()),
        ["item mug, file mug/3.png: absurdly large (limit 100,000,000 pixels)"],
        False,
    ),
    (
        "link out",
        add_link("../../outside/secret.jpg"),
        ["item mug, file mug/link.jpg: leaves --image-dir (a link to "],
        True,
    ),
    (
        "link out to nothing",
        add_link("../../outside/gone.jpg"),
        ["item mug, file mug/link.jpg: leaves --image-dir (a link to "],
        True,
    ),
    (
        "folder linked out",
        link_folder,
        [
            "item mug, file side/secret.jpg: leaves --image-dir (a link to ",
            "item mug, file side/gone.jpg: leaves --image-dir (a link to ",
        ],
        True,
    ),
    ("broken link", add_link("gone.jpg"), ["item mug, file mug/link.jpg: file missing"], True),
    (
        "link to itself",
        add_link("link.jpg"),
        ["item mug, file mug/link.jpg: not a regular file"],
        True,
    ),
    (
        "same file",
        lambda shop: shop.add("hat", "mug/1.jpg"),
        [f"item hat, file mug/1.jpg: {SAME_FILE}"],
        True,
    ),
    (
        "same file, spelled differently",
        lambda shop: shop.add("hat", "a/..//mug/./1.jpg"),
        [f"item hat, file a/..//mug/./1.jpg: {SAME_FILE}"],
        True,
    ),
    ("same file by hard link", add_hard_link, [f"item hat, file hat/3.jpg: {SAME_FILE}"], True),
    ("same file by symbolic link", add_soft_link, [f"item hat, file hat/3.jpg: {SAME_FILE}"], True),
    (
        "same bytes",
        lambda shop: shop.add_file("hat", "hat/3.jpg", jpeg(0)),
        [
            "item hat, file hat/3.jpg: "
            "same bytes as mug/1.jpg of item mug; merge the items or remove one"
        ],
        False,
    ),
    (
        "no folder of pictures",
        remove_folder,
        ["/gone: no such folder; give the right --image-dir"],
        True,
    ),
    (
        "another folder of pictures",
        give_other_folder,
        [
            "none of the pictures is in ",
            "item mug, file mug/1.jpg: file missing",
            "item mug, file mug/2.jpg: file missing",
            "item hat, file hat/1.jpg: file missing",
            "item hat, file hat/2.jpg: file missing",
        ],
        True,
    ),
]


@pytest.mark.parametrize(
    ("break_it", "expected", "quick"),
    [case[1:] for case in BROKEN],
    ids=[case[0] for case in BROKEN],
)
def test_errors(
    shop: Shop, break_it: Callable[[Shop], None], expected: list[str], quick: bool
) -> None:
    break_it(shop)
    report = shop.check()
    found = lines(report.errors)
    assert len(found) == len(expected), found
    for got, line in zip(found, expected, strict=True):
        assert line in got
        assert "\n" not in got
    assert report.warnings == []
    assert lines(shop.quick_check().errors) == (found if quick else [])


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (
            lambda shop: shop.add_file("cup", "cup.jpg", jpeg(9)),
            "item cup: only one picture: it can be indexed, but gives no positive pair to train on",
        ),
        (lambda shop: shop.labels.update(mug=["red", " "]), "item mug: an empty label; remove it"),
        (
            lambda shop: shop.labels.update(mug=["red", "red"]),
            "item mug: the same label twice; remove one",
        ),
        (
            lambda shop: shop.add("mug", "mug//1.jpg"),
            "item mug, file mug//1.jpg: same file as mug/1.jpg of this item; remove one",
        ),
        (
            lambda shop: shop.add_file("mug", "mug/3.jpg", jpeg(0)),
            "item mug, file mug/3.jpg: same bytes as mug/1.jpg of this item; remove one",
        ),
    ],
)
def test_warnings(shop: Shop, break_it: Callable[[Shop], None], expected: str) -> None:
    break_it(shop)
    report = shop.check()
    assert lines(report.warnings) == [expected]
    assert report.errors == []
    assert lines(shop.quick_check().warnings) == ([] if "bytes" in expected else [expected])


def test_all_problems_are_reported_at_once(shop: Shop) -> None:
    shop.add("mug", "mug/3.jpg")
    shop.add("mug", "../4.jpg")
    shop.add_file("hat", "hat/3.jpg", b"no picture")
    shop.add_file("cup", "cup.jpg", jpeg(0))
    form = json.loads(shop.write().read_text())
    form["hat"]["images"].append(5)
    form["bag"] = 7
    shop.path.write_text(json.dumps(form))
    report = check_catalogue(shop.path, shop.photos)
    assert lines(report.errors) == [
        "item mug, file ../4.jpg: leaves --image-dir (..)",
        "item hat: images[3]: expected object, got int",
        "item bag: expected object, got int",
        "item mug, file mug/3.jpg: file missing",
        "item hat, file hat/3.jpg: not a picture",
        f"item cup, file cup.jpg: {SAME_FILE.replace('file', 'bytes', 1)}",
    ]
    assert [problem.kind for problem in report.warnings] == ["single"]


def test_fatal_excludes_skippable_errors(shop: Shop) -> None:
    shop.add("mug", "mug/3.jpg")
    shop.add_file("mug", "mug/4.jpg", b"")
    link_folder(shop)
    shop.add("hat", "mug/1.jpg")
    report = shop.quick_check()
    assert [problem.kind for problem in report.errors] == [
        "missing",
        "picture",
        "outside",
        "outside",
        "shared",
    ]
    assert [problem.kind for problem in report.fatal] == ["outside", "outside", "shared"]


def test_links_inside_the_folder_are_allowed(shop: Shop) -> None:
    (shop.photos / "cup").symlink_to("mug")
    (shop.outside / "photos").symlink_to(shop.photos)
    shop.files["mug"] = ["cup/1.jpg", "cup/2.jpg"]
    shop.photos = shop.outside / "photos"
    assert shop.check().problems == []


def test_as_dict_is_json(shop: Shop) -> None:
    shop.add("cup", "cup.jpg")
    assert json.loads(json.dumps(shop.check().as_dict())) == {
        "items": 3,
        "pictures": 5,
        "errors": [
            {
                "kind": "missing",
                "problem": "file missing",
                "item_id": "cup",
                "filename": "cup.jpg",
            }
        ],
        "warnings": [
            {
                "kind": "single",
                "problem": "only one picture: it can be indexed, "
                "but gives no positive pair to train on",
                "item_id": "cup",
                "filename": None,
            }
        ],
    }


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00", "{"])
def test_unusable_file_is_one_problem(tmp_path: Path, content: str) -> None:
    path = tmp_path / "items.json"
    path.write_text(content)
    report = check_catalogue(path)
    assert len(report.errors) == 1
    assert (report.items, report.pictures, report.warnings) == (0, 0, [])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        check_catalogue(tmp_path / "gone.json")


def test_real_photos(grocery: Path) -> None:
    report = quick_check(Catalogue.read(grocery / "labels.json"))
    assert report == CheckReport([], items=81, pictures=5421)


def test_str_of_a_report(catalogue):
    assert str(quick_check(catalogue)) == "12 items, 48 pictures, 0 errors, 0 warnings"
    problem = Problem("picture", "is cut off")
    assert str(CheckReport([problem], 1, 1)) == "1 item, 1 picture, 1 error, 0 warnings"
