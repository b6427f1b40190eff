"""The commands check, split, from-folder and from-csv."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from tests.cli.conftest import fail, invoke, succeed

pytestmark = pytest.mark.slow


def test_check_accepts_a_good_catalogue(items_json):
    result = succeed("check", "--labeled-data", items_json)
    assert "12 items, 48 pictures, 0 errors, 0 warnings" in result.stdout
    report = json.loads(succeed("check", "--labeled-data", items_json, "--json").stdout)
    assert report == {"items": 12, "pictures": 48, "errors": [], "warnings": []}


def test_check_lists_all_problems(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no picture")
    form = {
        "a": {"images": [{"filename": "gone.png"}, {"filename": "../out.png"}]},
        "b": {"images": [{"filename": "text.png"}, {"filename": 7}], "labels": "red"},
        "c": {"images": []},
        "d": {"images": [{"filename": "good.png"}]},
        "e": {"images": [{"filename": "good.png"}]},
    }
    (tmp_path / "items.json").write_text(json.dumps(form))
    result = invoke("check", "--labeled-data", tmp_path / "items.json")
    assert result.exit_code == 2
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    for item, problem in (
        ("a", "file missing"),
        ("a", ".."),
        ("b", "not a picture"),
        ("b", "images[1]"),
        ("b", "labels"),
        ("c", "no pictures"),
        ("e", "same file as good.png of item d"),
    ):
        assert any(f"item {item}" in line and problem in line for line in errors), (item, problem)


def test_split_separates_the_items_and_mentions_the_image_dir(items_json, tmp_path):
    arguments = ("split", "--labeled-data", items_json, "--output", tmp_path)
    parts = json.loads(succeed(*arguments, "--json").stdout)
    train, test = (json.loads((tmp_path / f"{part}.json").read_text()) for part in parts)
    assert len(train) == parts["train"]["items"] == 8
    assert not train.keys() & test.keys()
    assert "--image-dir" in succeed(*arguments).stdout


def test_from_folder_and_from_csv_create_catalogues(tmp_path):
    for name in ("cup/1.png", "cup/2.png", "jug/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "cup" / "notes.txt").write_text("")
    result = succeed("from-folder", tmp_path / "photos", "--output", tmp_path / "a.json", "--json")
    assert json.loads(result.stdout)["pictures"] == 3
    (tmp_path / "items.csv").write_text("item_id,filename,labels\ncup,cup/1.png,red|tall\n")
    succeed("from-csv", tmp_path / "items.csv", "--output", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == {
        "cup": {"images": [{"filename": "cup/1.png"}], "labels": ["red", "tall"]}
    }
    assert fail("from-folder", tmp_path / "none")
    assert fail("from-csv", tmp_path / "none.csv")
