from __future__ import annotations

from pathlib import Path

import pytest

from siamese.data.catalogue import Catalogue, Picture
from siamese.errors import InputError


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
    path = tmp_path / "items.csv"
    path.write_text("item_id,filename\nmug,1.jpg\n")
    catalogue = Catalogue.from_csv(path)
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
    found = raised.value.lines
    assert len(found) == len(lines)
    for got, line in zip(found, lines, strict=True):
        assert got.startswith(f"{path}: {line}")
        assert "\n" not in got
