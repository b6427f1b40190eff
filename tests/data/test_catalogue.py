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
from siamese.data.catalogue_json import Item, parse_catalogue
from siamese.errors import InputError


def write(folder: Path, content: Any, name: str = "items.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def item(*filenames: str, **further: Any) -> dict[str, Any]:
    return {"images": [{"filename": filename} for filename in filenames], **further}


def make_catalogue(labels: dict[str, list[str]]) -> Catalogue:
    form = {
        item_id: item(f"{item_id}.jpg", labels=item_labels)
        for item_id, item_labels in labels.items()
    }
    raw, items, problems = parse_catalogue(json.dumps(form).encode())
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


def test_path_of_resolves_dots_by_name(tmp_path: Path) -> None:
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


def test_read_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: no such file; give the JSON"):
        Catalogue.read(tmp_path / "gone.json")
    with pytest.raises(InputError, match="is a folder; give the JSON file"):
        Catalogue.read(tmp_path)
    with pytest.raises(InputError, match=r"unreadable \(file name too long\)"):
        Catalogue.read(tmp_path / ("x" * 300))


def test_further_keys_are_kept_byte_for_byte(tmp_path: Path) -> None:
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
        f"{tmp_path}: 3 files ignored: not a picture, or not in the folder of an item",
        f"{tmp_path}: 1 folder without pictures ignored: empty",
    ]
    catalogue.write(tmp_path / "items.json")
    assert Catalogue.read(tmp_path / "items.json").items == catalogue.items
    assert json.loads((tmp_path / "items.json").read_text())["hat"] == item("hat/1.avif")


def test_from_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such folder"):
        Catalogue.from_folder(tmp_path / "gone")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match="no subfolder with pictures"):
        Catalogue.from_folder(tmp_path)
    (tmp_path / "two\nlines").mkdir()
    (tmp_path / "two\nlines" / "1.jpg").touch()
    with pytest.raises(InputError) as raised:
        Catalogue.from_folder(tmp_path)
    assert len(lines_of(raised)) == 2
    assert all("control character" in line for line in lines_of(raised))


def test_from_folder_with_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    folder = tmp_path / "mug"
    folder.mkdir()
    try:
        Path(os.fsdecode(bytes(folder) + b"/caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    with pytest.raises(InputError, match=r"caf\\udce9\.jpg is not valid Unicode"):
        Catalogue.from_folder(tmp_path)


def test_split_is_by_item_and_seeded() -> None:
    catalogue = make_catalogue({f"item{i}": [f"label{i % 7}"] for i in range(103)})
    train, test = catalogue.split()
    assert len(train.items) == round(0.7 * 103)
    assert train.items.keys().isdisjoint(test.items)
    assert train.items.keys() | test.items.keys() == catalogue.items.keys()
    assert list(train.items) == [item_id for item_id in catalogue.items if item_id in train.items]
    assert list(catalogue.split(seed=0)[0].items) == list(train.items)
    assert list(catalogue.split(seed=1)[0].items) != list(train.items)


def test_split_does_not_depend_on_file_order() -> None:
    labels = {f"item{i}": [f"label{i % 5}", f"shelf{i % 3}"] for i in range(60)}
    shuffled = list(labels.items())
    random.Random(3).shuffle(shuffled)
    assert set(make_catalogue(labels).split()[0].items) == set(
        make_catalogue(dict(shuffled)).split()[0].items
    )


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=12).filter(
        lambda sizes: sum(sizes) > 1
    ),
    train=st.floats(0.02, 0.98),
    seed=st.integers(0, 99),
)
def test_split_is_stratified_by_label(sizes: list[int], train: float, seed: int) -> None:
    labels = {
        f"{label}-{i}": [f"label{label}"] if label else []  # items without labels are a stratum too
        for label, size in enumerate(sizes)
        for i in range(size)
    }
    catalogue = make_catalogue(labels)
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
def test_split_of_items_with_several_labels(seed: int) -> None:
    rng = random.Random(seed)
    labels = {
        f"item{i}": rng.sample([f"common{k}" for k in range(4)], rng.randint(0, 3))
        + rng.sample([f"rare{k}" for k in range(60)], rng.randint(0, 2))
        + [f"unique{i}"] * rng.randint(0, 1)
        for i in range(1000)
    }
    train, _ = make_catalogue(labels).split(0.7, seed)
    assert len(train.items) == 700
    total = Counter(label for item_labels in labels.values() for label in item_labels)
    in_train = Counter(label for it in train.items.values() for label in it.labels)
    for label, count in total.items():
        if count >= 200:
            assert abs(in_train[label] / count - 0.7) < 0.05, label
        elif count >= 8:
            assert abs(in_train[label] / count - 0.7) < 0.35, label


@pytest.mark.parametrize("train", [0.01, 0.5, 0.99])
def test_split_gives_each_part_an_item(train: float) -> None:
    first, second = make_catalogue({"a": [], "b": []}).split(train)
    assert len(first.items) == len(second.items) == 1


def test_split_errors() -> None:
    with pytest.raises(InputError, match="a single item cannot be split"):
        make_catalogue({"a": []}).split()
    for share in (0, 1, -0.3, 70, float("nan")):
        with pytest.raises(InputError, match="is not a share between 0 and 1"):
            make_catalogue({"a": [], "b": []}).split(share)


def test_repr(catalogue):
    assert repr(catalogue) == (
        f"Catalogue(12 items, 48 pictures, 4 labels, in {str(catalogue.image_dir)!r})"
    )
