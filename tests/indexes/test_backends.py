"""Every backend does what `Index` promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, LabelFilter, find_backend, open_index
from siamese.indexes.update import update_index
from siamese.search.searcher import Searcher
from tests.indexes.conftest import LABELS, SIZE, contents, facts, grouped, pictures

COUNT = 400
CLOSE = {"balltree": 1e-6, "faiss exact": 1e-5, "faiss graph": 3e-3, "faiss graph, 8 bits": 3e-2}
FILTERS = [
    LabelFilter(),
    LabelFilter.from_lists(any_of=["red"]),
    LabelFilter.from_lists(any_of=["red", "pink", "not there"]),
    LabelFilter.from_lists(all_of=["red", "pink"]),
    LabelFilter.from_lists(none_of=["red"]),
    LabelFilter.from_lists(any_of=['quoted "red"', "back\\slash"], none_of=["ü, comma"]),
    LabelFilter.from_lists(["red"], ["pink"], ["rare"]),
    LabelFilter.from_lists(any_of=["rare"]),
    LabelFilter.from_lists(any_of=["not there"]),
    LabelFilter.from_lists(none_of=["not there"]),
]


def kept(labels, metadata):
    """Return which pictures a filter keeps, by its definition."""

    def keeps(has):
        return (
            (not labels.any_of or bool(has & labels.any_of))
            and labels.all_of <= has
            and not has & labels.none_of
        )

    return np.array([keeps(set(picture["labels"])) for picture in metadata])


def nearest_distances(queries, vectors, rows, k):
    """Return the distances of the k nearest of some rows, by a loop over all."""
    distances = [sorted(np.linalg.norm(vectors[rows] - query, axis=1))[:k] for query in queries]
    return np.reshape(distances, (len(queries), min(k, len(rows))))


@pytest.fixture(scope="module")
def index(build):
    return build(grouped(COUNT), pictures(COUNT))


def tolerance(backend):
    return CLOSE.get(backend, 1e-3)


@pytest.mark.parametrize("labels", FILTERS, ids=range(len(FILTERS)))
def test_the_nearest_that_a_filter_keeps_are_those_of_a_loop(index, backend, labels):
    vectors, metadata, queries = grouped(COUNT), pictures(COUNT), grouped(40, seed=1)
    rows = np.flatnonzero(kept(labels, metadata))
    for k in (1, 7, 50, 2 * COUNT):
        distances, found = index.query(queries, k, labels)
        expected = nearest_distances(queries, vectors, rows, k)
        assert distances.shape == found.shape == expected.shape
        assert (np.diff(distances, axis=1) >= 0).all()
        close = np.abs(distances - expected) <= tolerance(backend)
        assert close.sum() >= (0.95 if "graph" in backend else 1) * close.size
        assert all(kept(labels, index.metadata_of(found.ravel())))
        assert all(len(set(found_rows)) == len(found_rows) for found_rows in found.tolist())
        found_vectors = index.vectors(found.ravel()).reshape(*found.shape, SIZE)
        computed = np.linalg.norm(found_vectors - queries[:, None], axis=2)
        np.testing.assert_allclose(distances, computed, atol=tolerance(backend))


def test_it_returns_the_pictures_it_was_built_from(index, backend):
    metadata = pictures(COUNT)
    assert len(index) == COUNT and index.embedding_size == SIZE and index.model == facts()
    entries = sorted(index.entries(), key=lambda entry: entry.metadata["filename"])
    expected = sorted(
        zip(metadata, contents(COUNT), strict=True), key=lambda one: one[0]["filename"]
    )
    for entry, (one, content) in zip(entries, expected, strict=True):
        assert entry.metadata["filename"] == one["filename"]
        assert entry.metadata["item_id"] == one["item_id"]
        assert set(entry.metadata["labels"]) == set(one["labels"])
        assert entry.content == (None if backend == "balltree" else content)
    rows = [entry.row for entry in entries[5::50]]
    assert index.metadata_of(rows) == [entry.metadata for entry in entries[5::50]]
    assert index.metadata_of([]) == [] and index.vectors([]).shape == (0, SIZE)
    places = [metadata.index(entry.metadata) for entry in entries[5::50]]
    np.testing.assert_allclose(index.vectors(rows), grouped(COUNT)[places], atol=tolerance(backend))

    (row,) = index.find(filename="ü/17.jpg")
    assert index.metadata_of([row]) == [metadata[17]]
    of_item = index.metadata_of(index.find(item_id="item 4"))
    assert sorted(one["filename"] for one in of_item) == [
        f"ü/{row}.jpg" for row in (16, 17, 18, 19)
    ]
    assert index.find(item_id="item 4", filename="ü/17.jpg").tolist() == [row]
    assert not len(index.find(item_id="item 5", filename="ü/17.jpg"))
    assert not len(index.find(item_id='no" or item_id != "'))
    assert index.item_sizes(["item 4", "none", "item 99"]).tolist() == [4, 0, 4]
    counts = {label: sum(label in one["labels"] for one in metadata) for label in LABELS}
    counts = {label: count for label, count in counts.items() if count}
    assert index.label_counts() == counts
    assert list(index.label_counts().values()) == sorted(counts.values(), reverse=True)


def test_an_invalid_query_or_picture_is_one_line(index):
    for X, k, line in (
        (np.ones((1, SIZE + 1)), 1, rf"has vectors of {SIZE} dimensions"),
        (np.ones(SIZE), 1, "the queries have shape"),
        (np.full((1, SIZE), np.nan), 1, "not finite"),
        (grouped(1), 0, "k is 0"),
    ):
        with pytest.raises(InputError, match=line):
            index.query(X, k)
    one = pictures(1)
    for vectors, metadata, line in (
        (grouped(1, SIZE + 1), one, "nothing added: the vectors have 13 dimensions"),
        (2 * grouped(1), one, "not of length 1"),
        (grouped(2), one, "metadata of 1 pictures for 2 vectors"),
        (grouped(1), [{"item_id": 1}], "invalid metadata"),
    ):
        with pytest.raises(InputError, match=line):
            index.add(vectors, metadata)
    assert len(index) == COUNT
    distances, rows = index.query(np.empty((0, SIZE)), 3)
    assert distances.shape == rows.shape == (0, 3)


def test_an_updated_index_holds_the_new_catalogue_when_opened_again(build, backend):
    index = build(grouped(200), pictures(200))
    vectors = np.concatenate([grouped(200), grouped(40, seed=5)])
    metadata, files = pictures(200) + pictures(240)[200:], contents(240)
    vectors[10] = grouped(1, seed=9)[0]
    files[10] = b"another picture!"
    metadata[11] = {**metadata[11], "labels": ["new"]}
    stay = [row for row in range(240) if row not in (0, 1, 55)]
    wanted = [metadata[row] for row in stay]
    changes = update_index(index, vectors[stay], wanted, [files[row] for row in stay])
    assert changes == (40, 2, 3)
    index.save()
    place = index.name
    del index
    index = open_index(place)
    assert len(index) == 237
    assert find_backend(place).name == backend.split()[0]
    _, rows = index.query(vectors[stay], 1)
    right = [
        found["filename"] == picture["filename"]
        for found, picture in zip(index.metadata_of(rows.ravel()), wanted, strict=True)
    ]
    assert np.mean(right) > (0.97 if "graph" in backend else 0.999)
    assert index.query(vectors[:1], 1, LabelFilter.from_lists(any_of=["new"]))[1].shape == (1, 1)
    again = update_index(index, vectors[stay], wanted, [files[row] for row in stay])
    assert again == (0, 0, 0)


class NoEmbedder:
    """Stands for the embedder in searches by vector."""

    def __init__(self, facts) -> None:
        self.facts = facts


def test_every_way_to_search_gives_the_same_with_each_backend(index, backend):
    own = [f"item {number}" for number in range(12)]
    red = LabelFilter.from_lists(any_of=["red"])
    assert_features(
        index, backend, grouped(COUNT), pictures(COUNT), grouped(12, seed=2), own, red, 0.9
    )


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_way_to_search_gives_the_same_for_2000_real_embeddings(build, backend, real):
    """Search photos of groceries with other photos of the same products."""
    vectors, metadata, queries, own = real
    some = LabelFilter.from_lists(any_of=sorted({one["labels"][0] for one in metadata})[:5])
    index = build(vectors, metadata)
    assert_features(index, backend, vectors, metadata, queries, own, some, 0.8)


@pytest.fixture(scope="module")
def real(grocery):
    """Return vectors and metadata of 2,000 photos, and vectors and items of 50 queries."""
    from siamese.data.catalogue import Catalogue
    from siamese.embedding.embedder import Embedder

    pictures = Catalogue.read(grocery / "labels.json").pictures
    order = np.random.default_rng(0).permutation(len(pictures))[:2050]
    pictures = [pictures[row] for row in order]
    paths = [grocery / "images" / picture.filename for picture in pictures]
    paths = paths if paths[0].is_file() else [grocery / picture.filename for picture in pictures]
    vectors = Embedder.pretrained().embed(paths)
    metadata = [
        {"item_id": picture.item_id, "filename": picture.filename, "labels": list(picture.labels)}
        for picture in pictures
    ]
    own = [picture.item_id for picture in pictures[2000:]]
    return vectors[:2000], metadata[:2000], vectors[2000:], own


def assert_features(index, backend, vectors, metadata, queries, own, labels, most):
    """Compare each way to search with rankings by the distances to all pictures."""
    searcher = Searcher(NoEmbedder(index.model), index)
    item = [one["item_id"] for one in metadata]

    def by_hand(query, own=None, labels=EVERYTHING, most=np.inf):
        distances = np.linalg.norm(vectors - query, axis=1)
        mask = kept(labels, metadata)
        return [
            (item[row], distances[row])
            for row in np.argsort(distances, kind="stable")
            if mask[row] and item[row] != own and distances[row] <= most
        ]

    def first_of_items(ranked):
        seen = set()
        return [one for one in ranked if not (one[0] in seen or seen.add(one[0]))]

    pairs = list(zip(queries, own, strict=True))
    mean = queries.mean(axis=0, keepdims=True)
    mean /= np.linalg.norm(mean)
    for asked, options, expected in (
        (queries, {}, [by_hand(query)[:5] for query in queries]),
        (queries, {"offset": 5}, [by_hand(query)[5:10] for query in queries]),
        (queries, {"labels": labels}, [by_hand(query, labels=labels)[:5] for query in queries]),
        (queries, {"own_items": own}, [by_hand(query, its)[:5] for query, its in pairs]),
        (queries, {"max_distance": most}, [by_hand(query, most=most)[:5] for query in queries]),
        (mean, {}, [by_hand(mean[0])[:5]]),
        (
            queries,
            {"by_item": "best", "labels": labels, "offset": 1, "own_items": own},
            [first_of_items(by_hand(query, its, labels))[1:6] for query, its in pairs],
        ),
    ):
        agree = []
        first = 1 + options.get("offset", 0)
        for one, hand in zip(searcher.search_vectors(asked, 5, **options), expected, strict=True):
            ranks = [result.rank for result in one.results]
            assert ranks == list(range(first, first + len(ranks)))
            agree += [
                found is not None
                and right is not None
                and abs(found.distance - right[1]) <= tolerance(backend)
                for found, right in itertools.zip_longest(one.results, hand)
            ]
        assert sum(agree) >= (0.93 if "graph" in backend else 1) * len(agree), options
