from __future__ import annotations

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import BallTree

from siamese.errors import InputError
from siamese.indexes import BallTreeIndex, open_index
from tests.indexes.balltree.conftest import MODEL, build, rows, unit


def content(count=200):
    index = build(count)
    return {"metadata": index.metadata, "index": index.tree, "model": index.model.as_dict()}


def test_the_vectors_of_rows_are_those_it_was_built_from(tmp_path):
    build(100).save(tmp_path / "search_index.pkl")
    for index in (build(100), open_index(tmp_path / "search_index.pkl")):
        found = index.vectors([7, 0, 7])
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, unit(100)[[7, 0, 7]])
        assert index.vectors([]).shape == (0, 6)
        found[:] = 0  # it is a copy
        np.testing.assert_array_equal(index.vectors([7]), unit(100)[[7]])


@pytest.mark.parametrize("count", [1, 2, 40, 41, 80, 81, 82, 163, 1000])
def test_a_saved_index_agrees_with_a_loop(tmp_path, count):
    path = tmp_path / "search_index.pkl"
    build(count).save(path)
    index = open_index(path)
    assert len(index) == count and index.metadata == rows(count) and index.model == MODEL
    assert index.embedding_size == 6 and index.name == str(path)

    queries = unit(7, seed=1)
    distances, found = index.query(queries, k=5)
    assert distances.shape == found.shape == (7, min(5, count))
    for query, near, at in zip(queries, distances, found, strict=True):
        every = np.linalg.norm(unit(count) - query, axis=1)
        assert at.tolist() == np.argsort(every)[:5].tolist()
        assert near == pytest.approx(np.sort(every)[:5], abs=1e-6)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("leaf_size", [1, 2, 7, 40, 500])
def test_every_tree_of_scikit_learn_can_be_opened(write, leaf_size):
    for count in [*range(1, 20), 99, 257, 1000]:
        tree = BallTree(unit(count), leaf_size=leaf_size)
        for protocol in (3, 4, 5):
            data = pickle.dumps({"metadata": rows(count), "index": tree}, protocol)
            index = open_index(write(data))
            assert index.model is None
            assert (
                index.query(unit(3, seed=2), 4)[1] == tree.query(unit(3, seed=2), min(4, count))[1]
            ).all()


def test_plain_pickle_opens_it_without_this_package(tmp_path, monkeypatch):
    path = tmp_path / "search_index.pkl"
    build(50).save(path)
    for name in list(sys.modules):
        if name.partition(".")[0] in ("siamese", "msgspec"):
            monkeypatch.setitem(sys.modules, name, None)  # importing it now fails
    with path.open("rb") as file:
        loaded = pickle.load(file)
    assert list(loaded) == ["metadata", "index", "model"]
    tree = loaded["index"]
    assert type(tree) is BallTree
    assert type(loaded["metadata"]) is list and type(loaded["model"]) is dict
    assert loaded["metadata"][3] == {
        "item_id": "item 1",
        "filename": "ü/3.jpg",
        "labels": ["red", "shoe"],
    }
    distances, found = tree.query(tree.get_arrays()[0][3:4], k=2)
    assert (found[0, 0], distances[0, 0]) == (3, 0)


def test_numpy_1_knows_every_name_in_the_file(tmp_path):
    path = tmp_path / "search_index.pkl"
    build(5).save(path)
    assert b"_frombuffer" not in path.read_bytes()  # of numpy._core.numeric, new in numpy 2


def test_k_is_at_least_one_and_may_exceed_the_size():
    index = build(3)
    assert index.query(unit(2), k=10)[1].shape == (2, 3)
    assert index.query(np.empty((0, 6)), k=2)[1].shape == (0, 2)
    with pytest.raises(InputError, match="at least 1"):
        index.query(unit(2), k=0)


def test_an_invalid_query_is_one_line():
    for query in (unit(2, size=5), unit(1)[0]):
        with pytest.raises(InputError, match="has vectors of 6 dimensions"):
            build(3).query(query)
    with pytest.raises(InputError, match="not finite"):
        build(3).query(unit(2) * np.nan)


@pytest.mark.parametrize(
    ("vectors", "metadata", "model", "line"),
    [
        (np.empty((0, 6)), [], MODEL, "no pictures to index"),
        (unit(3), rows(2), MODEL, "metadata of 2 pictures for 3 vectors"),
        (unit(3) * 2, rows(3), MODEL, "not of length 1"),
        (unit(3) * np.nan, rows(3), MODEL, "not of length 1"),
        (unit(3)[0], rows(6), MODEL, "have shape"),
        (unit(3), [{"item_id": 5}] * 3, MODEL, "invalid metadata"),
        (unit(3), rows(3), replace(MODEL, embedding_size=5), "those of the model 5"),
    ],
)
def test_arguments_that_do_not_match_are_refused(vectors, metadata, model, line):
    with pytest.raises(InputError, match=line) as caught:
        BallTreeIndex.build(vectors, metadata, model)
    assert "\n" not in str(caught.value)


def test_a_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "search_index.pkl"
    build(5).save(path)
    index = build(5)
    index.metadata[0]["labels"] = lambda: "this cannot be pickled"
    with pytest.raises((AttributeError, pickle.PicklingError)):
        index.save(path)
    assert len(open_index(path)) == 5 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda it: it.pop("metadata"), "no metadata and index"),
        (lambda it: it.pop("index"), "no metadata and index"),
        (lambda it: it.update(index=[1]), "not a BallTree"),
        (lambda it: it.update(index=np.arange(3.0)), "not a BallTree"),
        (lambda it: it["metadata"].pop(), "metadata of 199 pictures for 200"),
        (lambda it: it["metadata"][3].pop("filename"), "invalid metadata.*filename"),
        (lambda it: it["metadata"][3].update(labels="red"), "invalid metadata.*labels"),
        (lambda it: it.update(metadata={}), "invalid metadata"),
        (lambda it: it.update(model="a model"), "facts about its model are invalid"),
        (
            lambda it: it["model"].pop("fingerprint"),
            "facts about its model are invalid.*fingerprint",
        ),
        (lambda it: it["model"].update(embedding_size=7), "those of the model 7"),
        (lambda it: it.update(index=BallTree(unit(200) * 3)), "not of length 1"),
        (lambda it: it.update(index=BallTree(unit(200), metric="manhattan")), "refers to sklearn"),
    ],
)
def test_an_invalid_structure_is_one_line(write, change, line):
    value = content()
    change(value)
    path = write(value)
    with pytest.raises(InputError, match=line) as caught:
        open_index(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_damaged_files_never_crash(write):
    """A file that is cut off or has a flipped bit is refused in one line, or still right."""
    data = pickle.dumps(content(100), 4)
    rng = np.random.default_rng(0)
    refused = 0
    # Most of the file is arrays, so half of the damage is in the structure around them.
    structure = [at for at in range(len(data)) if at < 1500 or at > len(data) - 900]
    places = [*rng.integers(len(data), size=200), *rng.choice(structure, size=200)]
    for at in places:
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.integers(8)
        refused += refused_or_answers(write(bytes(flipped)))
    for end in rng.integers(len(data), size=50):
        assert refused_or_answers(write(data[:end]))
    assert 100 < refused < 400


def refused_or_answers(path):
    try:
        index = open_index(path)
    except InputError as error:
        assert len(error.lines) == 1 and str(error).isprintable()
        return True
    distances, found = index.query(unit(5), k=3)
    assert np.isfinite(distances).all() and ((found >= 0) & (found < len(index))).all()
    return False


def test_a_missing_index_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pkl: no such file"):
        open_index(tmp_path / "absent.pkl")
    with pytest.raises(InputError, match="this folder is not an index; give the file"):
        open_index(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"photo\.jpg: not an index but a picture"):
        open_index(tmp_path / "photo.jpg")
    (tmp_path / "text.pkl").write_text("text")
    with pytest.raises(InputError, match=r"text\.pkl: not an index file"):
        open_index(tmp_path / "text.pkl")
