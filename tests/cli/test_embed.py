"""The embed command."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import invoke, succeed

pytestmark = pytest.mark.slow


def test_stored_embeddings_are_reused_by_every_command(items_json, checkpoint, tmp_path):
    model = ("--labeled-data", items_json, "--keras-model", checkpoint)
    folder = tmp_path / "embeddings"
    document = json.loads(succeed("embed", *model, "--output", folder, "--json").stdout)
    assert document.pop("seconds") > 0 and document.pop("pictures_per_second") > 0
    assert document.pop("runtime") in ("openvino", "tensorflow")
    assert document.pop("precision") in ("float32", "bfloat16")
    assert document == {
        "path": str(folder),
        "pictures": 48,
        "new": 48,
        "skipped": [],
        "engine": "local",
    }
    for command in ("index", "evaluate", "report"):
        output = {
            "index": ("--output", tmp_path / "search_index.pkl"),
            "report": ("--output", tmp_path / "report"),
        }.get(command, ())
        result = succeed(command, *model, *output, "--embeddings", folder)
        assert "48 of 48 pictures embedded already" in result.stderr
    assert not (tmp_path / "search_index.embeddings").exists()
    assert "48 pictures, 0 of them new" in succeed("embed", *model, "--output", folder).stdout


def test_evaluating_a_part_keeps_the_other_embeddings(items_json, checkpoint, tmp_path):
    model = ("--keras-model", checkpoint, "--image-dir", items_json.parent)
    folder = tmp_path / "embeddings"
    succeed("split", "--labeled-data", items_json, "--output", tmp_path)
    succeed("embed", "--labeled-data", items_json, *model, "--output", folder)
    succeed("evaluate", "--labeled-data", tmp_path / "test.json", *model, "--embeddings", folder)
    again = succeed("embed", "--labeled-data", items_json, *model, "--output", folder)
    assert "48 of 48 pictures embedded already" in again.stderr


def test_skipped_pictures_are_listed(copied_photos, checkpoint, tmp_path):
    (copied_photos / "red-disc-0.png").write_text("no picture")
    result = invoke(
        *("embed", "--labeled-data", copied_photos / "items.json", "--keras-model", checkpoint),
        *("--output", tmp_path / "embeddings", "--runtime", "tensorflow", "--precision", "float32"),
    )
    assert result.exit_code == 3
    assert "skipped: item red-disc, file red-disc-0.png: not a picture" in result.stderr
    assert "47 pictures, 47 of them new" in result.stdout
    assert "pictures/s with tensorflow in float32" in result.stdout
