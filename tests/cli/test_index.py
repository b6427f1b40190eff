"""The index command."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import invoke, start, succeed

pytestmark = pytest.mark.slow


def test_update_reports_the_changes(items_json, checkpoint, tmp_path):
    arguments = ("index", "--labeled-data", items_json, "--keras-model", checkpoint, "--update")
    arguments += ("--json", "--backend", "faiss", "--output", tmp_path / "i.faiss")
    first, again = (json.loads(succeed(*arguments).stdout) for _ in range(2))
    assert (first["backend"], first["changes"]) == ("faiss", None)
    assert again["changes"] == {"added": 0, "changed": 0, "removed": 0}
    assert (again["pictures"], again["path"]) == (48, str(tmp_path / "i.faiss"))


def test_augment_gallery_changes_the_vectors(items_json, index, catalogue, checkpoint, tmp_path):
    mixed = tmp_path / "search_index.pkl"
    arguments = ("--keras-model", checkpoint, "--output", mixed, "--augment-gallery")
    succeed("index", "--labeled-data", items_json, *arguments)
    path = catalogue.path_of(catalogue.pictures[0])
    for file, is_unchanged in ((index, True), (mixed, False)):
        (found,) = json.loads(succeed("search", "--index", file, "-k", 48, "--json", path).stdout)
        nearest = min(result["distance"] for result in found["results"])
        assert (nearest < 1e-5) == is_unchanged


def test_skipped_pictures_are_listed_and_set_the_exit_code(catalogue, checkpoint, tmp_path):
    form = {"a": {"images": [{"filename": p.filename} for p in catalogue.pictures[:3]]}}
    form["a"]["images"].append({"filename": "gone.png"})
    (tmp_path / "items.json").write_text(json.dumps(form))
    result = invoke(
        *("index", "--labeled-data", tmp_path / "items.json", "--keras-model", checkpoint),
        *("--image-dir", catalogue.image_dir, "--output", tmp_path / "index.pkl", "--json"),
    )
    assert result.exit_code == 3
    assert json.loads(result.stdout)["pictures"] == 3
    assert "skipped: item a, file gone.png: file missing" in result.stderr
    assert json.loads((tmp_path / "index.skipped.json").read_text())[0]["filename"] == "gone.png"


def test_two_simultaneous_runs_leave_one_complete_index(checkpoint, items_json, tmp_path):
    arguments = ("index", "--labeled-data", items_json, "--keras-model", checkpoint, "--json")
    codes = []
    for process in [start(*arguments, cwd=tmp_path) for _ in range(2)]:
        document, stderr = process.communicate()
        codes.append(process.returncode)
        if process.returncode:  # the runs overlapped; otherwise one came after the other
            assert "search_index.embeddings: another run is writing to it" in stderr
        else:
            assert json.loads(document)["pictures"] == 48  # one document and nothing else
    assert sorted(codes) in ([0, 0], [0, 2])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["search_index.embeddings", "search_index.pkl"]
    picture = items_json.parent / "red-disc-0.png"
    succeed("search", "--index", tmp_path / "search_index.pkl", picture)
