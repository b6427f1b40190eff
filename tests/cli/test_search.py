"""The search command."""

from __future__ import annotations

import json
import os
import pickle

import pytest

from tests.cli.conftest import fail, succeed

pytestmark = pytest.mark.slow


def test_the_query_itself_is_found_first(index, catalogue):
    picture = catalogue.pictures[5]
    path = catalogue.path_of(picture)
    (found,) = json.loads(succeed("search", "--index", index, "-k", 3, "--json", path).stdout)
    assert found["query"] == str(path)
    assert [result["rank"] for result in found["results"]] == [1, 2, 3]
    assert found["results"][0]["filename"] == picture.filename
    assert found["results"][0]["distance"] < 1e-3
    assert picture.filename in succeed("search", "--index", index, path).stdout


def test_results_are_shown_as_page_or_picture(index, catalogue, tmp_path):
    path = catalogue.path_of(catalogue.pictures[0])
    for name in ("results.html", "results.png"):
        arguments = ("--image-dir", catalogue.image_dir, "--output", tmp_path / name)
        succeed("search", "--index", index, *arguments, path)
        assert (tmp_path / name).stat().st_size > 1000
    assert "--image-dir" in fail("search", "--index", index, "--output", "r.html", path)[0]
    assert ".csv or .jsonl" in fail("search", "--index", index, "--output", "r.gif", path)[0]


def test_a_wrong_image_dir_is_reported(index, catalogue, tmp_path):
    path = catalogue.path_of(catalogue.pictures[0])
    arguments = ("--image-dir", tmp_path, "--output", tmp_path / "results.html")
    (line,) = fail("search", "--index", index, *arguments, path)
    assert "contains none of the pictures found" in line
    assert not (tmp_path / "results.html").exists()


def test_many_queries_without_their_own_items_are_written_as_csv(
    items_json, index, catalogue, tmp_path
):
    arguments = ("search", "--index", index, "--queries", items_json, "-k", 3)
    arguments += ("--exclude-own-item", "--any-label", "disc")
    succeed(*arguments, "--output", tmp_path / "results.csv")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * len(catalogue.pictures)
    own = {str(catalogue.path_of(picture)): picture.item_id for picture in catalogue.pictures}
    for query, _, _, item_id, _, labels in (line.split(",") for line in lines[1:]):
        assert item_id != own[query] and item_id.endswith("disc") and labels == "disc"


def test_unusual_and_invalid_options(index, catalogue):
    path = catalogue.path_of(catalogue.pictures[0])
    other = catalogue.path_of(catalogue.pictures[10])
    arguments = ("search", "--index", index, path)
    result = succeed(*arguments, "--no-label", "square", "--max-distance", 0)
    assert "nothing found" in result.stdout
    assert "a number from 0 to 2" in fail(*arguments, "--max-distance", "near")[0]
    assert "has no calibration" in fail(*arguments, "--max-distance", "calibrated")[0]
    assert "no picture to search for" in fail("search", "--index", index)[0]
    both = (*arguments, other, "--image-dir", catalogue.image_dir, "--together")
    assert "belong to several items" in fail(*both, "--exclude-own-item")[0]
    (found,) = json.loads(succeed(*arguments, other, "--together", "--offset", 2, "--json").stdout)
    assert [result["rank"] for result in found["results"]][:2] == [3, 4]


@pytest.mark.parametrize("rerank", ["none", "expansion", "reciprocal"])
def test_items_are_ranked_and_results_reranked(index, catalogue, rerank):
    path = catalogue.path_of(catalogue.pictures[5])
    arguments = ("search", "--index", index, "-k", 5, "--rerank", rerank, "--json")
    (found,) = json.loads(succeed(*arguments, path).stdout)
    assert [result["rank"] for result in found["results"]] == [1, 2, 3, 4, 5]
    for by_item in ("best", "mean"):
        (found,) = json.loads(succeed(*arguments, "--by-item", by_item, path).stdout)
        assert len({result["item_id"] for result in found["results"]}) == 5
        assert list(found["results"][0]) == ["rank", "distance", "item_id", "filename", "labels"]


def test_another_model_than_that_of_the_index_is_rejected(index, catalogue, checkpoint, tmp_path):
    import keras

    from siamese.models.checkpoints import save_model
    from siamese.models.embedding_model import embedding_model

    keras.utils.set_random_seed(4)
    save_model(embedding_model("base_cnn", 32, embedding_size=16), tmp_path / "other.hdf5")
    path = catalogue.path_of(catalogue.pictures[0])
    (line,) = fail("search", "--index", index, "--keras-model", tmp_path / "other.hdf5", path)
    assert f"{index}: made by the model '{checkpoint}'" in line
    assert "not by 'other.hdf5'" in line


def test_a_moved_model_is_reported_and_accepted_at_its_new_path(items_json, network, tmp_path):
    from siamese.models.checkpoints import save_model

    model, index = tmp_path / "model.hdf5", tmp_path / "index.pkl"
    save_model(network, model)
    runtime = ("--runtime", "tensorflow")  # saves the conversion of two models
    arguments = ("--labeled-data", items_json, "--keras-model", model, "--output", index)
    succeed("index", *arguments, *runtime)
    model.rename(tmp_path / "moved.hdf5")
    picture = items_json.parent / "red-disc-0.png"
    (line,) = fail("search", "--index", index, picture)
    assert str(model) in line
    assert "--keras-model" in line
    moved = ("--keras-model", tmp_path / "moved.hdf5")
    succeed("search", "--index", index, *moved, *runtime, picture)


def test_unusable_queries_are_all_listed(index, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    lines = fail("search", "--index", index, tmp_path / "text.jpg", tmp_path / "gone.jpg")
    assert len(lines) == 2
    assert "text.jpg: not a picture" in lines[0]
    assert "gone.jpg: file missing" in lines[1]


def test_code_in_a_pickled_index_is_never_run(catalogue, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch '{tmp_path}/ran'",)

    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps({"metadata": [], "index": Hostile()}))
    path = catalogue.path_of(catalogue.pictures[0])
    (line,) = fail("search", "--index", tmp_path / "hostile.pkl", path)
    assert "hostile.pkl" in line
    assert not (tmp_path / "ran").exists()
