from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.data.catalogue import Catalogue, Picture
from siamese.data.catalogue_json import Item, parse
from siamese.errors import InputError


def write(folder: Path, content: Any, name: str = "items.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def item(*filenames: str, **further: Any) -> dict[str, Any]:
    return {"images": [{"filename": filename} for filename in filenames], **further}


def catalogue_of(labels: dict[str, list[str]]) -> Catalogue:
    form = {item_id: item(f"{item_id}.jpg", labels=of_item) for item_id, of_item in labels.items()}
    raw, items, problems = parse(json.dumps(form).encode())
    assert not problems
    return Catalogue(raw, items, Path())


def lines_of(error: pytest.ExceptionInfo[InputError]) -> list[str]:
    assert all("\n" not in line for line in error.value.lines)
    return error.value.lines


def test_read(tmp_path: Path) -> None:
    path = write(tmp_path, {"mug": item("a/1.jpg", "2.jpg", labels=["red"]), "hat": item("3.jpg")})
    catalogue = Catalogue.read(path)
    assert list(catalogue.items) == ["mug", "hat"]
    assert isinstance(catalogue.items["hat"], Item)
    assert catalogue.pictures == [
        Picture("mug", "a/1.jpg", ("red",)),
        Picture("mug", "2.jpg", ("red",)),
        Picture("hat", "3.jpg"),
    ]
    assert catalogue.image_dir == tmp_path
    assert catalogue.path_of(catalogue.pictures[0]) == tmp_path / "a" / "1.jpg"
    elsewhere = Catalogue.read(path, image_dir=tmp_path / "photos")
    assert elsewhere.path_of(elsewhere.pictures[1]) == tmp_path / "photos" / "2.jpg"


def test_dots_inside_the_folder_are_resolved_by_name(tmp_path: Path) -> None:
    catalogue = Catalogue.read(write(tmp_path, {"mug": item("a/../b/./1.jpg", "..b/2.jpg")}))
    assert [catalogue.path_of(picture) for picture in catalogue.pictures] == [
        tmp_path / "b" / "1.jpg",
        tmp_path / "..b" / "2.jpg",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "items.json"
    path.write_bytes(json.dumps({"tasse é": item("ö.jpg")}, ensure_ascii=False).encode(encoding))
    assert Catalogue.read(path).pictures == [Picture("tasse é", "ö.jpg")]


def test_every_further_key_is_kept_byte_by_byte(tmp_path: Path) -> None:
    raw_item = (
        '{"price": 1.10, "images": [ {"filename": "1.jpg", "by": {"\\u00e9": [null]}} ],\n'
        '  "labels": ["red"], "big": 123456789012345678901234567890}'
    )
    path = write(tmp_path, '{"mug": ' + raw_item + ', "hat \\" é": {"images":[{"filename":"h"}]}}')
    catalogue = Catalogue.read(path)
    catalogue.write(tmp_path / "copy.json")
    text = (tmp_path / "copy.json").read_text(encoding="utf-8")
    assert raw_item in text
    assert json.loads(text) == json.loads(path.read_text())
    again = Catalogue.read(tmp_path / "copy.json")
    assert again.items == catalogue.items
    for part in catalogue.split():
        part.write(tmp_path / "part.json")
        written = json.loads((tmp_path / "part.json").read_text(encoding="utf-8"))
        (item_id,) = written
        assert written[item_id] == json.loads(path.read_text())[item_id]


# ---------------------------------------------------------------- from folders and tables


def test_from_folder(tmp_path: Path) -> None:
    for name in [
        "mug/2.JPG",
        "mug/1.png",
        "mug/side/3.webp",
        "mug/notes.txt",
        "mug/.hidden.jpg",
        "mug/.cache/4.jpg",
        "hat/1.avif",
        "empty/readme.md",
        ".git/1.jpg",
        "stray.jpg",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    catalogue = Catalogue.from_folder(tmp_path)
    assert {
        key: [image.filename for image in it.images] for key, it in catalogue.items.items()
    } == {
        "hat": ["hat/1.avif"],
        "mug": ["mug/1.png", "mug/2.JPG", "mug/side/3.webp"],
    }
    assert list(catalogue.items) == ["hat", "mug"]
    assert catalogue.notes == [
        f"{tmp_path}: files left out, as no picture of an item: 3",
        f"{tmp_path}: folders without a picture: 1 (empty)",
    ]
    catalogue.write(tmp_path / "items.json")
    assert Catalogue.read(tmp_path / "items.json").items == catalogue.items
    assert json.loads((tmp_path / "items.json").read_text())["hat"] == item("hat/1.avif")


def test_from_folder_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such folder"):
        Catalogue.from_folder(tmp_path / "gone")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match="no folder with pictures in it"):
        Catalogue.from_folder(tmp_path)
    (tmp_path / "two\nlines").mkdir()
    (tmp_path / "two\nlines" / "1.jpg").touch()
    with pytest.raises(InputError) as raised:
        Catalogue.from_folder(tmp_path)
    assert len(lines_of(raised)) == 2
    assert all("control character" in line for line in lines_of(raised))


def test_from_folder_with_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "mug"
    folder.mkdir()
    try:
        Path(os.fsdecode(bytes(folder) + b"/caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    with pytest.raises(InputError, match=r"caf\\udce9\.jpg is no valid Unicode"):
        Catalogue.from_folder(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_from_csv(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(
        (
            "filename,item_id,price,labels\r\n"
            'a/1.jpg,mug,1.10,"red|tea"\r\n'
            "\r\n"
            "hat.jpg,hat,2.00,\r\n"
            '"with, comma.jpg",mug,1.10,tea; blue ;\r\n'
        ).encode(encoding)
    )
    catalogue = Catalogue.from_csv(path, tmp_path / "photos")
    assert catalogue.pictures == [
        Picture("mug", "a/1.jpg", ("red", "tea", "blue")),
        Picture("mug", "with, comma.jpg", ("red", "tea", "blue")),
        Picture("hat", "hat.jpg"),
    ]
    assert catalogue.image_dir == tmp_path / "photos"


def test_from_csv_without_labels(tmp_path: Path) -> None:
    catalogue = Catalogue.from_csv(write(tmp_path, "item_id,filename\nmug,1.jpg\n", "items.csv"))
    assert catalogue.pictures == [Picture("mug", "1.jpg")]
    assert catalogue.image_dir == tmp_path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("", ["line 1: no column filename and no column item_id; the header must be"]),
        ("mug,1.jpg,red\n", ["line 1: no column filename and no column item_id"]),
        ("item_id,picture\n", ["line 1: no column filename; the header must be"]),
        ("item_id,filename,labels\n", ["no rows below the header"]),
        (
            "item_id,filename,labels\n,1.jpg,\nmug,,\nmug,2.jpg\nmug,../3.jpg,\nmug,/4.jpg,\n",
            [
                "line 2: empty item id",
                "line 3: empty filename",
                "line 4: 2 columns, the header has 3",
                "line 5: leaves --image-dir (..)",
                "line 6: absolute path",
            ],
        ),
        ('item_id,filename\nmug,"1.jpg\n', ["line 2: unexpected end of data"]),
        (b"item_id,filename\nmug,caf\xe9.jpg\n", ["not UTF-8 text (line 2); save it as UTF-8"]),
    ],
)
def test_from_csv_lists_every_problem(
    tmp_path: Path, content: str | bytes, lines: list[str]
) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as raised:
        Catalogue.from_csv(path)
    found = lines_of(raised)
    assert len(found) == len(lines)
    for got, line in zip(found, lines, strict=True):
        assert got.startswith(f"{path}: {line}")


# ---------------------------------------------------------------- what is wrong with the form


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", ["not JSON: the file is empty"]),
        (b" \n ", ["not JSON: the file is empty"]),
        (b'{"mug":\n  {"images": [}}', ["not JSON: line 2, column 15: Expecting value"]),
        (b'{"mug": {"images": [', ["not JSON: line 1, column 21: Expecting value"]),
        (
            b'{"mug": {"images": [NaN]}}',
            ["not JSON: JSON is malformed: invalid character (byte 20)"],
        ),
        (b'{"mug": ' + b"[" * 99_999, ["not JSON: nested too deeply"]),
        (b'{"mug \\ud800": {}}', ["not JSON: half a character"]),
        (b'{"mug": {"images": [{"filename": "\\ud800"}]}}', ["not JSON: half a character"]),
        (b'\n{"mug": "caf\xe9"}', ["not UTF-8 text (line 2); save it as UTF-8"]),
        (b"\x89P\r\n\x1a\n", ["not UTF-8 text (line 1); save it as UTF-8"]),
        (b"[1, 2]", ["not a catalogue: expected object, got list; the file must be"]),
        (b'"mug"', ["not a catalogue: expected object, got str; the file must be"]),
        (b"{}", ["holds no items"]),
        (b'{"mug": 3}', ["item mug: expected object, got int"]),
        (b'{"mug": null}', ["item mug: expected object, got null"]),
        (b'{"mug": {}}', ["item mug: no pictures"]),
        (b'{"mug": {"images": []}}', ["item mug: no pictures; add one or remove it"]),
        (b'{"mug": {"images": "1.jpg"}}', ["item mug: images: expected list, got str"]),
        (b'{"mug": {"images": ["1.jpg"]}}', ["item mug: images[0]: expected object, got str"]),
        (
            b'{"mug": {"images": [{"file": "1.jpg"}]}}',
            ["item mug: images[0]: object missing required field filename"],
        ),
        (
            b'{"mug": {"images": [{"filename": "1.jpg"}], "labels": "red"}}',
            ["item mug: labels: expected list, got str"],
        ),
        (
            b'{"mug": {"images": [{"filename": "1.jpg"}], "labels": null}}',
            ["item mug: labels: expected list, got null"],
        ),
        (b'{"": {"images": [{"filename": "1.jpg"}]}}', ["item '': empty item id"]),
        (
            b'{"a\\nb": {"images": [{"filename": "1.jpg"}]}}',
            [r"item 'a\nb': control character in the item id"],
        ),
        (b'{"mug": {"images": [{"filename": ""}]}}', ["item mug: empty filename"]),
        (
            b'{"mug": {"images": [{"filename": "a\\u0000.jpg"}]}}',
            [r"item mug, file 'a\x00.jpg': control character in the filename; rename"],
        ),
        (
            b'{"mug": {"images": [{"filename": "../1.jpg"}, {"filename": "a/../../1.jpg"}]}}',
            [
                "item mug, file ../1.jpg: leaves --image-dir (..)",
                "item mug, file a/../../1.jpg: leaves --image-dir (..)",
            ],
        ),
        (
            b'{"mug": {"images": [{"filename": "/etc/1.jpg"}, {"filename": "C:\\\\1.jpg"}]}}',
            [
                "item mug, file /etc/1.jpg: absolute path",
                "item mug, file C:\\1.jpg: absolute path",
            ],
        ),
        (
            b'{"mug": {"images": [{"filename": "1.jpg"}]}, "hat": 3,'
            b' "mug": {"images": [{"filename": "2.jpg"}]}}',
            [
                "item mug: the item id stands there more than once; merge the items",
                "item hat: expected object, got int",
            ],
        ),
        # All at once, within an item too.
        (
            b'{"mug": {"images": [{"filename": 1}, 2, {"filename": "/x"}, {}], "labels": ["a", 3]},'
            b' "hat": {"images": {}, "labels": 1}}',
            [
                "item mug: images[0].filename: expected str, got int",
                "item mug: images[1]: expected object, got int",
                "item mug: images[3]: object missing required field filename",
                "item mug: labels[1]: expected str, got int",
                "item mug, file /x: absolute path",
                "item hat: images: expected list, got object",
                "item hat: labels: expected list, got int",
            ],
        ),
    ],
)
def test_read_lists_every_problem(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    path = tmp_path / "items.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        Catalogue.read(path)
    found = lines_of(raised)
    assert len(found) == len(lines), found
    for got, line in zip(found, lines, strict=True):
        assert got.startswith(f"{path}: {line}")


def test_read_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: no such file; give the JSON"):
        Catalogue.read(tmp_path / "gone.json")
    with pytest.raises(InputError, match="is a folder; give the JSON file"):
        Catalogue.read(tmp_path)
    with pytest.raises(InputError, match=r"unreadable \(file name too long\)"):
        Catalogue.read(tmp_path / ("x" * 300))


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5)


@given(ids=st.lists(TEXT.filter(str.strip), min_size=1, max_size=6), ascii_only=st.booleans())
def test_an_id_said_twice_is_always_found(ids: list[str], ascii_only: bool) -> None:
    members = [
        f"{json.dumps(item_id, ensure_ascii=ascii_only)} : {json.dumps(item(f'{place}.jpg'))}"
        for place, item_id in enumerate(ids)
    ]
    _, _, problems = parse("{{ {} }}".format(" ,\n".join(members)).encode())
    repeated = {item_id for item_id, count in Counter(ids).items() if count > 1}
    assert {problem.item_id for problem in problems} == repeated


# ---------------------------------------------------------------- split


def test_split_is_by_item_and_seeded() -> None:
    catalogue = catalogue_of({f"item{i}": [f"label{i % 7}"] for i in range(103)})
    train, test = catalogue.split()
    assert len(train.items) == round(0.7 * 103)
    assert train.items.keys().isdisjoint(test.items)
    assert train.items.keys() | test.items.keys() == catalogue.items.keys()
    assert list(train.items) == [item_id for item_id in catalogue.items if item_id in train.items]
    assert list(catalogue.split(seed=0)[0].items) == list(train.items)
    assert list(catalogue.split(seed=1)[0].items) != list(train.items)


def test_split_does_not_depend_on_the_order_of_the_file() -> None:
    labels = {f"item{i}": [f"label{i % 5}", f"shelf{i % 3}"] for i in range(60)}
    shuffled = list(labels.items())
    random.Random(3).shuffle(shuffled)
    assert set(catalogue_of(labels).split()[0].items) == set(
        catalogue_of(dict(shuffled)).split()[0].items
    )


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=12).filter(
        lambda sizes: sum(sizes) > 1
    ),
    train=st.floats(0.02, 0.98),
    seed=st.integers(0, 99),
)
def test_each_label_gets_its_share(sizes: list[int], train: float, seed: int) -> None:
    labels = {
        f"{label}-{i}": [f"label{label}"] if label else []  # those without are a stratum too
        for label, size in enumerate(sizes)
        for i in range(size)
    }
    catalogue = catalogue_of(labels)
    first, second = catalogue.split(train, seed)
    count = len(labels)
    target = min(max(round(train * count), 1), count - 1)
    assert len(first.items) == target
    assert len(second.items) == count - target
    got = Counter(label for it in first.items.values() for label in it.labels)
    for label, size in enumerate(sizes):
        if label and size > 1:
            assert abs(got[f"label{label}"] - size * target / count) < 1 + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_items_with_several_labels(seed: int) -> None:
    draw = random.Random(seed)
    labels = {
        f"item{i}": draw.sample([f"common{k}" for k in range(4)], draw.randint(0, 3))
        + draw.sample([f"rare{k}" for k in range(60)], draw.randint(0, 2))
        + [f"unique{i}"] * draw.randint(0, 1)
        for i in range(1000)
    }
    train, _ = catalogue_of(labels).split(0.7, seed)
    assert len(train.items) == 700
    everywhere = Counter(label for of_item in labels.values() for label in of_item)
    there = Counter(label for it in train.items.values() for label in it.labels)
    for label, count in everywhere.items():
        if count >= 200:
            assert abs(there[label] / count - 0.7) < 0.05, label
        elif count >= 8:
            assert abs(there[label] / count - 0.7) < 0.35, label


@pytest.mark.parametrize("train", [0.01, 0.5, 0.99])
def test_both_sides_get_an_item(train: float) -> None:
    first, second = catalogue_of({"a": [], "b": []}).split(train)
    assert len(first.items) == len(second.items) == 1


def test_split_says_what_is_wrong() -> None:
    with pytest.raises(InputError, match="a single item cannot be split"):
        catalogue_of({"a": []}).split()
    for share in (0, 1, -0.3, 70, float("nan")):
        with pytest.raises(InputError, match="no share between 0 and 1"):
            catalogue_of({"a": [], "b": []}).split(share)


def test_a_catalogue_says_what_it_is(catalogue):
    assert repr(catalogue) == (
        f"Catalogue(12 items, 48 pictures, 4 labels, in {str(catalogue.image_dir)!r})"
    )
