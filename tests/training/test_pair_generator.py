from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest

from siamese.data.catalogue import Catalogue
from siamese.data.images import square_picture
from siamese.data.label_rule import pairwise_relations
from siamese.errors import InputError
from siamese.losses import ContrastiveLoss, MultiSimilarityLoss
from siamese.training.pair_generator import PairGenerator

SIZE = 16


def generator(catalogue, **options):
    return PairGenerator(catalogue, **{"picture_size": SIZE, "batch_size": 20, **options})


def epoch_of(generator):
    return [generator[step] for step in range(len(generator))]


def assert_same(one, other):
    for got, expected in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_batch_of_all_pairs(catalogue):
    pairs = generator(catalogue)
    assert len(pairs) == 3  # 48 pictures in batches of 20
    for step, (pictures, matrix) in enumerate(epoch_of(pairs)):
        assert pictures.shape == (20, SIZE, SIZE, 3) and pictures.dtype == np.float32
        assert pictures.min() >= -1 and pictures.max() == 1 and pictures.min() < -0.5
        shown = [pairs.pictures[row] for row in pairs.draw()[step]]
        expected = pairwise_relations([p.item_id for p in shown], [p.labels for p in shown])
        for i, one in enumerate(shown):
            for j, other in enumerate(shown):
                if one == other:
                    expected[i, j] = 0
        np.testing.assert_array_equal(matrix, expected)
        assert {-1, 0, 1} == set(matrix.ravel().tolist())
        first = square_picture(catalogue.path_of(shown[0]), SIZE)
        np.testing.assert_allclose(pictures[0], first / 127.5 - 1, atol=1e-6)


def test_the_same_picture_twice_is_no_positive_pair(catalogue):
    matrix = generator(catalogue).relations(np.array([0, 1, 0, 4]))
    # 0 and 1 are of one item; 4 of another with the same label.
    assert matrix.tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_a_batch_of_random_pairs(catalogue):
    pairs = generator(catalogue, sampling="random-pairs")
    assert len(pairs) == 2
    for step, ((anchors, others), y) in enumerate(epoch_of(pairs)):
        assert anchors.shape == others.shape == (20, SIZE, SIZE, 3)
        assert anchors.dtype == others.dtype == y.dtype == np.float32
        assert y.shape == (20,) and y.mean() == 0.5
        drawn = pairs.draw()
        for place in range(20):
            row = step * 20 + place
            for side, rows in ((anchors, drawn.anchors), (others, drawn.others)):
                square = square_picture(catalogue.path_of(pairs.pictures[rows[row]]), SIZE)
                np.testing.assert_allclose(side[place], square / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_epochs_differ_and_can_be_repeated(catalogue, sampling):
    pairs = generator(catalogue, sampling=sampling, workers=1)
    first = epoch_of(pairs)
    pairs.on_epoch_end()
    second = epoch_of(pairs)
    assert any(
        (one != other).any()
        for one, other in zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True)
    )
    resumed = generator(catalogue, sampling=sampling, workers=2)
    resumed.epoch = 1
    assert_same(epoch_of(resumed), second)
    pairs.epoch = 0
    assert_same(epoch_of(pairs), first)


def test_validation_repeats_its_draw(catalogue):
    pairs = generator(catalogue, redraw=False)
    before = epoch_of(pairs)
    pairs.on_epoch_end()
    assert_same(epoch_of(pairs), before)


def test_broken_pictures_are_left_out_and_listed(catalogue, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(catalogue.image_dir, folder)
    (folder / "red-disc-0.png").write_bytes(b"no picture")
    (folder / "blue-disc-3.png").unlink()
    pairs = generator(Catalogue.read(folder / "items.json"))
    assert [(skipped.item_id, skipped.filename, skipped.reason) for skipped in pairs.skipped] == [
        ("red-disc", "red-disc-0.png", "not a picture"),
        ("blue-disc", "blue-disc-3.png", "file missing"),
    ]
    assert len(pairs.pictures) == 46
    shown = {pairs.pictures[row].filename for row in pairs.draw().ravel()}
    assert len(shown) == 46 and not shown & {p.filename for p in pairs.skipped}
    rows = np.arange(46)
    expected = [square_picture(folder / picture.filename, SIZE) for picture in pairs.pictures]
    np.testing.assert_allclose(pairs.prepared(rows), np.stack(expected) / 127.5 - 1, atol=1e-6)


def test_no_usable_pair_is_an_error_of_one_line(catalogue, tmp_path):
    form = {"a": {"images": [{"filename": "gone1.png"}, {"filename": "gone2.png"}]}}
    path = tmp_path / "items.json"
    path.write_text(json.dumps(form))
    with pytest.raises(InputError, match="no positive pair") as raised:
        generator(Catalogue.read(path))
    assert len(raised.value.lines) == 1


class Witness(PairGenerator):
    """Notes what Keras asks for, and in which epoch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def __getitem__(self, step):
        self.asked.append((self.epoch, step))
        return super().__getitem__(step)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_fit_takes_every_batch_of_every_epoch_once(catalogue, sampling, workers):
    pairs = Witness(catalogue, picture_size=SIZE, batch_size=16, sampling=sampling, workers=workers)
    inputs = keras.Input((SIZE, SIZE, 3))
    vectors = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.UnitNormalization()(vectors))
    loss = MultiSimilarityLoss()
    if sampling == "random-pairs":
        from siamese.models.embedding_model import siamese_network

        model, loss = siamese_network(model), ContrastiveLoss()
    model.compile("adam", loss)
    history = model.fit(pairs, epochs=3, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    # Keras looks at the first batches for their shapes and ends that epoch before it begins.
    every = [(epoch, step) for epoch in (1, 2, 3) for step in range(3)]
    assert sorted(pairs.asked[2:]) == every


def naive_relation(one, other):
    if one == other:
        return 0
    if one.item_id == other.item_id:
        return 1
    return 0 if set(one.labels) & set(other.labels) else -1


@pytest.mark.parametrize(("memory", "slots"), [(7, 0), (8, 8), (20, 16), (1000, 40)])
def test_relations_to_a_memory(catalogue, memory, slots):
    pairs = generator(catalogue, batch_size=8, memory=memory)
    assert len(pairs) == 6 and pairs.memory == slots
    for _ in range(2):
        held = []
        for step, (_, got) in enumerate(epoch_of(pairs)):
            batch = [pairs.pictures[row] for row in pairs.draw()[step]]
            expected = np.zeros((8, 8 + slots), int)
            for i, one in enumerate(batch):
                for j, other in enumerate(batch + held):
                    expected[i, j] = naive_relation(one, other)
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == np.int8
            held = (batch + held)[:slots]  # as the model keeps it
        pairs.on_epoch_end()


def test_the_anchor_itself_is_excluded_from_the_memory(catalogue):
    # 48 pictures in batches of 20: the last is topped up with pictures that were shown before.
    pairs = generator(catalogue, memory=40)
    seen = pairs.draw()[:2][::-1].ravel()
    again = pairs.draw()[2][:, None] == seen
    assert again.any()
    assert (pairs[2][1][:, 20:][again] == 0).all()


def random_vectors(pairs, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(len(pairs.pictures), 5))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_embeddings_decide_the_next_draws(catalogue):
    pairs = generator(catalogue, batches="hard-items")
    plain = generator(catalogue)
    assert_same(pairs.draw(), plain.draw())
    for one in (pairs, plain):
        one.on_epoch_end()
    before = pairs.draw()
    assert_same(before, plain.draw())
    pairs.set_embeddings(random_vectors(pairs))
    mined = pairs.draw()
    assert any((one != other).any() for one, other in zip(mined, before, strict=True))
    assert pairs.draw() is mined
    resumed = generator(catalogue, batches="hard-items")
    resumed.epoch = 1
    resumed.set_embeddings(random_vectors(pairs))
    assert_same(resumed.draw(), mined)
    plain.set_embeddings(random_vectors(pairs))
    assert_same(plain.draw(), before)


def test_label_balanced_batches_show_labels_equally_often(catalogue):
    pairs = generator(catalogue, batches="label-balanced", batch_size=16)
    for rows in pairs.draw():
        labels = [pairs.pictures[row].labels[0] for row in rows]
        assert sorted(map(labels.count, set(labels))) == [4, 4, 4, 4]


def test_embeddings_must_be_usable(catalogue):
    pairs = generator(catalogue, batches="hard-items")
    with pytest.raises(ValueError, match="3 vectors, but 48 pictures"):
        pairs.set_embeddings(np.ones((3, 2), np.float32))
    with pytest.raises(InputError, match="not finite"):
        pairs.set_embeddings(np.full((48, 2), np.nan, np.float32))


def test_choices_that_do_not_fit_the_sampling_are_refused(catalogue):
    with pytest.raises(InputError) as raised:
        generator(catalogue, sampling="random-pairs", batches="hard-items", memory=8)
    assert len(raised.value.lines) == 2


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("workers", [1, 2])
def test_fit_draws_by_embeddings_that_a_callback_sets(catalogue, workers):
    """As training does: after each epoch, before the next one draws."""
    pairs = Witness(
        catalogue, picture_size=SIZE, batch_size=16, batches="hard-items", workers=workers
    )
    shown = {}
    original = pairs.relations

    def relations_of(rows, others=None):
        shown.setdefault(pairs.epoch, []).append(rows.tolist())
        return original(rows, others)

    pairs.relations = relations_of
    inputs = keras.Input((SIZE, SIZE, 3))
    vectors = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.UnitNormalization()(vectors))
    model.compile("adam", MultiSimilarityLoss())
    embed = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: pairs.set_embeddings(random_vectors(pairs, epoch))
    )
    model.fit(pairs, epochs=3, verbose=0, shuffle=False, callbacks=[embed])
    for epoch in (1, 2, 3):
        fresh = generator(catalogue, batch_size=16, batches="hard-items")
        fresh.epoch = epoch
        if epoch > 1:
            fresh.set_embeddings(random_vectors(fresh, epoch - 2))
        assert sorted(shown[epoch]) == sorted(fresh.draw().tolist())
