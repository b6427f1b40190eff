"""The evaluate command."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import fail, succeed

pytestmark = pytest.mark.slow


def test_queries_are_searched_for_in_the_gallery(items_json, checkpoint, tmp_path):
    succeed("split", "--labeled-data", items_json, "--output", tmp_path)
    arguments = ("--image-dir", items_json.parent, "--keras-model", checkpoint, "--json")
    queries = tmp_path / "test.json"
    result = succeed("evaluate", "--labeled-data", items_json, "--queries", queries, *arguments)
    figures = json.loads(result.stdout)["figures"]
    assert figures["gallery"] == 48
    assert figures["queries"] == 16


def test_calibrate_writes_beside_the_checkpoint(items_json, checkpoint, tmp_path):
    model = tmp_path / "own.hdf5"
    model.write_bytes(checkpoint.read_bytes())
    arguments = ("evaluate", "--labeled-data", items_json, "--keras-model", model, "--calibrate")
    arguments += ("--runtime", "tensorflow")  # saves the conversion of another model
    document = json.loads(succeed(*arguments, "--json").stdout)
    written = tmp_path / "own.calibration.json"
    assert json.loads(written.read_text()) == document["calibration"]
    assert document["calibration"]["fingerprint"] == document["model"]["fingerprint"]
    assert document["calibration"]["measured_on"] == str(items_json)
    assert str(written) in succeed(*arguments).stdout
    (line,) = fail("evaluate", "--labeled-data", items_json, "--calibrate")
    assert "give --keras-model" in line


def test_the_results_are_printed_as_short_tables(items_json, checkpoint):
    output = succeed("evaluate", "--labeled-data", items_json, "--keras-model", checkpoint).stdout
    for text in ("by picture", "by item", "95 %", "recall@1", "ROC AUC", "duplicates:"):
        assert text in output
    assert len(output.splitlines()) < 30


def test_a_catalogue_without_second_pictures_is_rejected(items_json, checkpoint, tmp_path):
    form = {
        item_id: {**item, "images": item["images"][:1]}
        for item_id, item in json.loads(items_json.read_text()).items()
    }
    single = tmp_path / "single.json"
    single.write_text(json.dumps(form))
    arguments = ("--labeled-data", single, "--image-dir", items_json.parent)
    assert fail("evaluate", *arguments, "--keras-model", checkpoint) == [
        "no query has another picture of its item in the gallery; give some items a second one"
    ]
