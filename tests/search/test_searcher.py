from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from siamese.errors import GoneError, InputError, NotFoundError, UnavailableError
from siamese.evaluation.calibration import calibrate_threshold, get_calibration_path
from siamese.indexes import BallTreeIndex, open_index
from siamese.search.reranking import Reciprocal
from siamese.search.searcher import Searcher
from tests.search.conftest import COLOURS, FACTS, Angles, MeanColour, at_angles, chord, order


@pytest.fixture
def paths(tmp_path):
    paths = []
    for name, colour in COLOURS.items():
        paths.append(tmp_path / f"{name}.png")
        Image.new("RGB", (9, 7), colour).save(paths[-1])
    return paths


@pytest.fixture
def index(tmp_path, paths):
    metadata = [
        {"item_id": path.stem, "filename": path.name, "labels": ["warm"] * (row < 2)}
        for row, path in enumerate(paths)
    ]
    BallTreeIndex.build(MeanColour().embed(paths), metadata, FACTS).save(
        tmp_path / "search_index.pkl"
    )
    return open_index(tmp_path / "search_index.pkl")


def test_the_nearest_pictures_come_first(paths, index):
    found = Searcher(MeanColour(), index).search([paths[0], str(paths[3])], k=2)
    assert [query.query for query in found] == [str(paths[0]), str(paths[3])]
    first, second = found[0].results
    assert (first.rank, first.item_id, first.filename, first.labels) == (
        1,
        "red",
        "red.png",
        ["warm"],
    )
    assert (second.rank, second.item_id) == (2, "orange")
    assert first.distance == pytest.approx(0, abs=1e-3) and second.distance > 0.1
    assert found[1].results[0].item_id == "blue"


def test_queries_can_be_bytes_or_pil_images(paths, index):
    sources = [paths[2].read_bytes(), Image.new("RGB", (4, 4), COLOURS["blue"])]
    found = Searcher(MeanColour(), index).search(sources, k=1)
    assert [query.query for query in found] == ["picture 1", "picture 2"]
    assert [query.results[0].item_id for query in found] == ["green", "blue"]


def test_as_dict_returns_the_json_document(paths, index):
    (found,) = Searcher(MeanColour(), index).search(paths[:1], k=100)
    form = json.loads(json.dumps(found.as_dict()))
    assert list(form) == ["query", "results", "in_catalogue"] and len(form["results"]) == 4
    assert list(form["results"][0]) == ["rank", "distance", "item_id", "filename", "labels"]
    assert form["results"][0]["labels"] == ["warm"] and form["results"][3]["labels"] == []


def test_in_catalogue_needs_a_calibration_beside_the_model(tmp_path, paths, index):
    path = tmp_path / "final_model.hdf5"
    embedder = MeanColour()
    embedder.facts = replace(FACTS, path=str(path))
    other = Image.new("RGB", (4, 4), (250, 5, 250))
    found = Searcher(embedder, index).search([paths[0], other])
    assert [query.in_catalogue for query in found] == [None, None]

    calibration = calibrate_threshold(
        [0.1, 0.2], [0.4, 0.5], gallery=4, fingerprint=FACTS.fingerprint, measured_on="colours"
    )
    calibration.write(get_calibration_path(path))
    searcher = Searcher(embedder, index)
    assert searcher.threshold == calibration.threshold
    for options in ({}, {"k": 1}, {"by_item": "best"}, {"rerank": "reciprocal"}):
        found = searcher.search([paths[0], other], **options)
        assert [query.in_catalogue for query in found] == [True, False]
    assert found[0].as_dict()["in_catalogue"] is True


def test_no_queries_give_no_results(index):
    assert Searcher(MeanColour(), index).search([]) == []


def test_every_bad_query_is_reported(tmp_path, paths, index):
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(InputError) as caught:
        Searcher(MeanColour(), index).search([tmp_path / "text.jpg", paths[0], tmp_path / "none"])
    first, second = caught.value.lines
    assert "text.jpg: not a picture" in first and "none: file missing" in second


def test_another_model_is_an_error_of_one_line(index):
    embedder = MeanColour()
    embedder.facts = replace(FACTS, name="other.hdf5", fingerprint="0" * 64)
    with pytest.raises(InputError) as caught:
        Searcher(embedder, index)
    (line,) = caught.value.lines
    for part in (index.name, "'mean colour'", "'ffffffffffff'", "'other.hdf5'", "make the index"):
        assert part in line


def test_an_index_that_records_no_model_is_accepted_with_a_warning(paths, index):
    index.model = None
    with pytest.warns(UserWarning, match="does not record which model made it"):
        searcher = Searcher(MeanColour(), index)
    assert searcher.search(paths[:1])[0].results[0].item_id == "red"

    wider = MeanColour()
    wider.facts = replace(FACTS, embedding_size=4)
    with pytest.raises(InputError, match="3 dimensions, those of mean colour have 4"):
        Searcher(wider, index)


def test_invalid_options_are_errors():
    searcher = at_angles(("a", 1))
    for options, line in (
        ({"rerank": "best"}, "rerank is 'best'; choose one of none, expansion, reciprocal"),
        ({"by_item": "all"}, "by_item is 'all'; choose one of best, mean"),
        ({"k": 0, "rerank": "reciprocal"}, "k is 0; ask for at least 1"),
        ({"k": -1, "by_item": "best"}, "k is -1; ask for at least 1"),
    ):
        with pytest.raises(InputError, match=line):
            searcher.search([0], **options)


def test_an_augmented_gallery_has_no_threshold(tmp_path):
    vectors = Angles().embed([1, 2])
    metadata = [{"item_id": "a", "filename": str(n), "labels": []} for n in range(2)]
    facts = replace(Angles.facts, path=str(tmp_path / "model.hdf5"))
    calibrate_threshold(
        [0.1], [0.9], gallery=2, fingerprint=facts.fingerprint, measured_on="x"
    ).write(get_calibration_path(facts.path))

    class Calibrated(Angles):
        pass

    Calibrated.facts = facts
    for augmented in (False, True):
        index = BallTreeIndex.build(vectors, metadata, facts, augmented=augmented)
        index.save(tmp_path / "index.pkl")
        opened = open_index(tmp_path / "index.pkl")
        assert opened.augmented == augmented
        assert (Searcher(Calibrated(), opened).threshold is None) == augmented


@pytest.fixture
def shared():
    """Return a searcher of four pictures, one of which belongs to two items."""
    return at_angles(("a", 0), ("b", 0), ("a", 20), ("b", 30), ("c", 50))


def test_a_picture_is_found_by_its_filename_or_its_row(shared):
    assert shared.find_row("20") == 2  # the file, not row 20
    assert shared.find_row("4") == shared.find_row(4) == 4
    for missing in ("none", "5", 5, "-1", -1, "٣", "9" * 30):
        with pytest.raises(NotFoundError, match=f"^{missing}: no such picture in the index$"):
            shared.find_row(missing)


def test_a_removed_row_is_not_found(shared, monkeypatch):
    class Removed:
        def __getattr__(self, name):
            return getattr(index, name)

        def find(self, **keys):
            return np.setdiff1d(index.find(**keys), [4])

        def metadata_of(self, rows):
            if error is not None:
                raise error
            return index.metadata_of(rows)

    index, error = shared.index, None
    shared.index = Removed()
    assert shared.find_row(3) == 3
    with pytest.raises(NotFoundError):
        shared.find_row(4)
    error = GoneError("removed meanwhile")
    with pytest.raises(NotFoundError):
        shared.find_row(3)
    error = UnavailableError("nobody answers")
    with pytest.raises(UnavailableError):
        shared.find_row(3)


def test_similar_pictures_leave_out_the_picture_under_all_its_items(shared):
    for picture in ("0", 0, 1):
        found = shared.search_similar(picture, 3)
        assert found.query == "0"
        assert order(found) == [("a", "20"), ("b", "30"), ("c", "50")]
        assert [result.rank for result in found.results] == [1, 2, 3]
        assert [result.distance for result in found.results] == [chord(a) for a in (20, 30, 50)]
    assert order(shared.search_similar("0", 1, offset=1)) == [("b", "30")]
    assert order(shared.search_similar("0", max_distance=0.5)) == [("a", "20")]


def test_similar_pictures_of_other_items(shared):
    assert order(shared.search_similar(0, exclude_own_item=True)) == [
        ("b", "0"),
        ("b", "30"),
        ("c", "50"),
    ]
    assert order(shared.search_similar(0, by_item="best")) == [("b", "0"), ("c", "50")]
    assert order(shared.search_similar("50", 1, by_item="mean")) == [("b", "30")]


def test_similar_pictures_within_a_distance_are_found_even_if_reranked():
    rng = np.random.default_rng(3)
    searcher = at_angles(*(("a", angle) for angle in [0, *rng.uniform(0, 90, 80)]))
    most, rerank = 2 * np.sin(np.radians(30 / 2)), Reciprocal(k1=3, own_share=0.3)
    near = {result.filename for result in searcher.search_similar("0", 99).results}
    near = {name for name in near if float(name) < 30}
    found = searcher.search_similar("0", len(near), max_distance=most, rerank=rerank)
    assert {result.filename for result in found.results} == near


def test_in_catalogue_does_not_depend_on_which_results_are_returned(shared):
    for threshold, known in ((0.5, True), (0.1, False)):
        shared.threshold = threshold
        for options in ({}, {"max_distance": 0.0}, {"offset": 3}, {"k": 1}):
            assert shared.search_similar("0", **options).in_catalogue is known


def test_an_unknown_option_is_an_error(shared):
    with pytest.raises(TypeError, match="rerankk"):
        shared.search([0], rerankk="reciprocal")


def test_an_unknown_option_is_an_error_before_any_picture_is_embedded(searcher, monkeypatch):
    monkeypatch.setattr(searcher.embedder, "embed", lambda _: pytest.fail("embedded"))
    for search in (searcher.search, searcher.search_vectors):
        with pytest.raises(TypeError, match="by_colour"):
            search([], by_colour="best")
    with pytest.raises(TypeError, match="by_colour"):
        searcher.search_similar(0, by_colour="best")
