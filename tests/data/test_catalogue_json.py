from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.data.catalogue import Catalogue
from siamese.data.catalogue_json import parse_catalogue
from siamese.errors import InputError


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
        (b"{}", ["has no items"]),
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
                "item mug: the item id occurs more than once; merge the items",
                "item hat: expected object, got int",
            ],
        ),
        # All at once, also within an item.
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
def test_every_problem_is_listed(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    path = tmp_path / "items.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        Catalogue.read(path)
    found = raised.value.lines
    assert len(found) == len(lines), found
    for got, line in zip(found, lines, strict=True):
        assert got.startswith(f"{path}: {line}")
        assert "\n" not in got


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5)


@given(ids=st.lists(TEXT.filter(str.strip), min_size=1, max_size=6), ascii_only=st.booleans())
def test_repeated_ids_are_found(ids: list[str], ascii_only: bool) -> None:
    members = [
        f"{json.dumps(item_id, ensure_ascii=ascii_only)} : "
        + json.dumps({"images": [{"filename": f"{number}.jpg"}]})
        for number, item_id in enumerate(ids)
    ]
    _, _, problems = parse_catalogue("{{ {} }}".format(" ,\n".join(members)).encode())
    repeated = {item_id for item_id, count in Counter(ids).items() if count > 1}
    assert {problem.item_id for problem in problems} == repeated
